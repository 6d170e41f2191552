"""W2 in Polars."""

import sys

import polars as pl

print(
    pl.scan_parquet(sys.argv[1])
    .filter(pl.col("temperature") > 20)
    .with_columns(fahrenheit=pl.col("temperature") * 9 / 5 + 32)
    .select(pl.col("fahrenheit").count())
    .collect(engine="streaming")
    .item()
)
