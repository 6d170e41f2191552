"""W2 in DuckDB."""

import sys

import duckdb

duckdb.execute("set threads = 2")
found = duckdb.execute(
    f"select count(fahrenheit) from (select *, temperature * 9 / 5 + 32 as fahrenheit from '{sys.argv[1]}' "
    "where temperature > 20)"
).fetchone()
print(found[0])
