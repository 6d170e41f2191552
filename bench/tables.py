"""Benchmark of the SQL sink in whole flows, against plain COPY: ``python bench/tables.py [--rounds 5]``.

A million JSON lines are read, computed on and written to an empty table, ours exactly once with a checkpoint each
second. Every contender gets a database of its own; a figure stands only if all tables hold the same rows.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import data
from measure import Contender, Sample, alternate, table
from stores import postgres_server

HERE = Path(__file__).parent
OUT = HERE / "out"
DATAFLARE = str(Path(sys.executable).with_name("dataflare"))
ROWS = 1_000_000
DIGEST = """
select count(*), sum(('x' || substr(md5(concat_ws('|', id, extract(epoch from ts::timestamptz), device,
    round(temperature::numeric, 6), round(humidity::numeric, 6), status, round(fahrenheit::numeric, 6))), 1, 15)
)::bit(60)::bigint)::text from readings
"""
_numbers = itertools.count()


@dataclass(frozen=True)
class InPostgres(Contender):
    """A contender that writes the table ``readings`` into a fresh database, which it finds in BENCH_URI."""

    server: str = ""

    def run(self) -> Sample:
        """Run it once, on an empty database."""
        import psycopg

        name = f"bench_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f'create database "{name}"'.encode())
            uri = self.server.replace("/bench?", f"/{name}?")
            environment = {**self.environment, "BENCH_URI": uri}
            sample = Contender(self.name, self.command, self.folder, _digest(uri), environment).run()
            connection.execute(f'drop database "{name}" with (force)'.encode())
        return sample


def _digest(uri: str) -> Callable[[Path], tuple[int, str]]:
    def read(folder: Path) -> tuple[int, str]:
        import psycopg

        with psycopg.connect(uri) as connection:
            found = connection.execute(DIGEST.encode()).fetchone()
        assert found is not None
        return int(found[0]), str(found[1])

    return read


def _no_digest(folder: Path) -> tuple[int, str]:
    return 0, ""


def postgres(rounds: int) -> None:
    """The flow and plain COPY, both into PostgreSQL that synchronises its writes."""
    source = data.readings(ROWS)
    flow = ["sh", "-c", f"cp {HERE / 'flows' / 'table.yaml'} . && exec {DATAFLARE} run table.yaml --json"]
    copy = [sys.executable, str(HERE / "peers" / "table_copy.py"), str(source)]
    with postgres_server() as server:

        def contender(name: str, command: list[str], interval: str = "1s") -> InPostgres:
            environment = {"BENCH_INPUT": str(source), "BENCH_INTERVAL": interval}
            return InPostgres(name, command, OUT / name.replace(" ", "-"), _no_digest, environment, server)

        contenders = [
            contender("DataFlare", flow),
            contender("plain COPY", copy),
            contender("plain COPY again (A/A)", copy),
        ]
        print(f"## {ROWS:,} JSON lines into PostgreSQL, whole processes\n")
        print(table(alternate(contenders, rounds), ROWS, "plain COPY"))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; one more warms the caches")
    postgres(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
