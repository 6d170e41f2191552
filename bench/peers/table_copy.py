"""Readings into PostgreSQL by plain COPY: Polars reads and computes, the server parses CSV; one transaction."""

import io
import os
import sys

import polars as pl
import psycopg

NAMES = "id bigint, ts timestamptz, device text, temperature float8, humidity float8, status text, fahrenheit float8"
COLUMNS = [name.split()[0] for name in NAMES.split(", ")]

rows = pl.scan_ndjson(sys.argv[1]).with_columns(fahrenheit=pl.col("temperature") * 9 / 5 + 32).select(COLUMNS).collect()
with psycopg.connect(os.environ["BENCH_URI"]) as connection, connection.cursor() as cursor:
    cursor.execute(f"create table readings ({NAMES})")
    with cursor.copy("copy readings from stdin (format csv)") as copy:
        for part in rows.iter_slices(65_536):
            out = io.BytesIO()
            part.write_csv(out, include_header=False)
            copy.write(out.getvalue())
