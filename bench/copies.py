"""Ways to bring Arrow batches into PostgreSQL: ``python bench/copies.py [--rounds 5]``, in one process, in turn.

The sink's binary COPY, a CSV COPY of what Polars writes, and the ADBC driver's ingest (with ``pip install
adbc-driver-postgresql``; left out where that is not installed). All tables must hold the same rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

from stores import postgres_server

ROWS = 500_000
COLUMNS = "id bigint, ts timestamptz, device text, temperature float8, humidity float8, status text, n int, ok bool"
DIGEST = "select count(*), md5(string_agg(x::text, '' order by id)) from x"
MADE = """
select i as id, timestamptz '2026-01-01 00:00:00Z' + to_milliseconds(i * 250) as ts,
    'device-' || (hash(i) % 5000) as device, (hash(i + 1) % 1000000) / 3.0 as temperature,
    case when i % 7 > 0 then (hash(i + 2) % 1000000) / 7.0 end as humidity,
    case when i % 3 > 0 then 'ok' else 'warning' end as status, (i % 100)::int as n, i % 2 = 0 as ok
from range(?) t(i)
"""


def batches() -> list[Any]:
    """The rows, as a sink gets them."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        return list(connection.sql(MADE, params=[ROWS]).to_arrow_reader(65_536))


def binary(connection: Any, rows: list[Any]) -> None:
    """As the sink does it."""
    from dataflare_std.sql.postgres_copy import HEAD, TAIL, copy_pieces

    with connection.cursor() as cursor, cursor.copy("copy x from stdin (format binary)") as copy:
        copy.write(HEAD)
        for batch in rows:
            for piece in copy_pieces(batch):
                copy.write(piece)
        copy.write(TAIL)


def text(connection: Any, rows: list[Any]) -> None:
    """As CSV."""
    import polars as pl

    with connection.cursor() as cursor, cursor.copy("copy x from stdin (format csv)") as copy:
        for batch in rows:
            out = io.BytesIO()
            pl.DataFrame(batch).write_csv(out, include_header=False)
            copy.write(out.getvalue())


def adbc(dsn: str) -> Callable[[Any, list[Any]], None]:
    """By the ADBC driver, on a connection of its own."""
    from adbc_driver_postgresql import dbapi

    driver = dbapi.connect(dsn)

    def ingest(connection: Any, rows: list[Any]) -> None:
        with driver.cursor() as cursor:
            for batch in rows:
                cursor.adbc_ingest("x", batch, mode="append")
        driver.commit()

    return ingest


def main() -> None:
    """Measure and print."""
    import psycopg

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; one more warms the caches")
    rounds, rows = parser.parse_args().rounds, batches()
    with postgres_server() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        ways: dict[str, Callable[[Any, list[Any]], None]] = {"binary COPY (ours)": binary, "CSV COPY (Polars)": text}
        if importlib.util.find_spec("adbc_driver_postgresql"):
            ways["ADBC ingest"] = adbc(dsn)
        walls: dict[str, list[float]] = {name: [] for name in ways}
        cpus: dict[str, list[float]] = {name: [] for name in ways}
        digests = set()
        for number in range(rounds + 1):
            for name, way in ways.items():
                connection.execute("drop table if exists x")
                connection.execute(f"create table x ({COLUMNS})".encode())
                wall, cpu = time.perf_counter(), time.process_time()
                way(connection, rows)
                if number:
                    walls[name].append(time.perf_counter() - wall)
                    cpus[name].append(time.process_time() - cpu)
                digests.add(connection.execute(DIGEST).fetchone())
        if len(digests) != 1:
            raise SystemExit(f"void: the tables differ: {digests}")
    print(f"## {ROWS:,} rows of eight columns into PostgreSQL\n")
    print("| way | wall s | rows/s | client CPU s |\n|---|---|---|---|")
    for name in ways:
        wall = statistics.median(walls[name])
        print(f"| {name} | {wall:.2f} | {ROWS / wall / 1000:,.0f}k | {statistics.median(cpus[name]):.2f} |")


if __name__ == "__main__":
    main()
