"""Windows of a minute in DuckDB."""

import sys

import duckdb

duckdb.execute(
    f"""
    copy (
        select device, time_bucket(interval '1 minute', ts) as window_start, count(*) as readings, sum(pieces) as total,
            avg(temperature) as mean, max(temperature) as most
        from '{sys.argv[1]}' group by all
    ) to 'out.parquet'
    """
)
