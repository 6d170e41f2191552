"""W1 in DuckDB: one statement."""

import sys

import duckdb

duckdb.execute("set threads = 2")
duckdb.execute(
    f"copy (select *, temperature * 9 / 5 + 32 as fahrenheit from read_json('{sys.argv[1]}') where temperature > 20) "
    "to 'out.jsonl' (format json)"
)
