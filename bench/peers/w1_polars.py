"""W1 in Polars: a streaming query."""

import sys

import polars as pl

(
    pl.scan_ndjson(sys.argv[1])
    .filter(pl.col("temperature") > 20)
    .with_columns(fahrenheit=pl.col("temperature") * 9 / 5 + 32)
    .sink_ndjson("out.jsonl")
)
