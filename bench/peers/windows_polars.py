"""Windows of a minute in Polars."""

import sys

import polars as pl

(
    pl.scan_parquet(sys.argv[1])
    .sort("ts")
    .group_by_dynamic("ts", every="1m", group_by="device")
    .agg(
        readings=pl.len(),
        total=pl.col("pieces").sum(),
        mean=pl.col("temperature").mean(),
        most=pl.col("temperature").max(),
    )
    .rename({"ts": "window_start"})
    .collect()
    .write_parquet("out.parquet")
)
