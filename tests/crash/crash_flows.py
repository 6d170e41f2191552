"""The flows that the crash suite kills: shapes x stores x sinks, as files in a folder, and what their sinks hold."""

from __future__ import annotations

import atexit
import base64
import functools
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import postgres as pg

ROWS = 400
SHOP = Path(__file__).parent / "crash_shop.py"
DSN = "{dsn}"
"""Stands in a flow for the address of a PostgreSQL database of its own."""
STORES = {
    "file": "{uses: state/file, with: {path: state}}",
    "sqlite": "{uses: state/sqlite, with: {path: state.db}}",
    "memory": "{uses: state/memory}",
    "postgres": f'{{uses: state/postgres, with: {{dsn: "{DSN}"}}}}',
    "layers": (
        "{uses: state/sqlite, with: {path: state.db}, layers: [{uses: state/zstd}, {uses: state/aes-gcm, "
        "with: {keyring: {uses: state/keyring-file, with: {path: keys.txt}}}}]}"
    ),
}
SINKS = {
    "staged": "uses: std/files, with: {path: staged/, format: jsonl}",
    "one_file": "uses: std/files, with: {path: one.jsonl}",
    "transactional": 'uses: std/sql, with: {uri: "sqlite:///table.db", table: rows}',
    "idempotent": "uses: ./shop.py/keyed-rows, with: {path: idempotent.db, key: KEY}",
    "append": "uses: ./shop.py/lines, with: {path: append.jsonl}",
    "spooled": "deliver: on_commit, uses: ./shop.py/keyed-rows, with: {path: spooled.db, key: KEY}",
    "parquet": "uses: std/files, with: {path: parquet/, format: parquet}",
    "duckdb": 'uses: std/sql, with: {uri: "duckdb:///duck.db", table: rows}',
    "postgres": f'uses: std/sql, with: {{uri: "{DSN}", table: rows}}',
    "upsert": 'uses: std/sql-upsert, with: {uri: "sqlite:///upsert.db", table: rows, key: KEY}',
}
ABILITIES = ("staged", "one_file", "transactional", "idempotent", "append", "spooled")
"""A sink of each ability, as cheap as they come."""
TARGETS = ("parquet", "duckdb", "postgres", "upsert")
"""More targets."""


def steps(text: str, last: str, key: str = "[n]") -> tuple[str, str, str]:
    """The steps of a flow, the name of the last one, the key of its rows."""
    return f"steps:\n{text}" if text else "", last, key


SHAPES = {
    "map": steps("", "made"),
    "steps": steps(
        """  twice: {uses: std/compute, from: made, with: {columns: {m: "n * 2"}}}
  some: {uses: std/filter, from: twice, with: {where: "n % 3 <> 0"}}""",
        "some",
    ),
    "keyed": steps("  firsts: {uses: std/dedupe, lanes: 2, from: made, with: {key: [k]}}", "firsts"),
    "numbered": steps("  numbered: {uses: ./shop.py/numbered, lanes: 2, from: made, with: {key: [k]}}", "numbered"),
    "windowed": steps(
        """  minutes:
    uses: std/window
    from: made
    lanes: 2
    with: {time: at, size: 20s, by: [k], aggregates: {total: sum(n), pieces: count()}}""",
        "minutes",
        "[k, window_start]",
    ),
    "join": steps(
        """  pairs:
    uses: std/join
    from: {left: made, right: twin}
    lanes: 2
    with: {on: [n], time: at, within: 5s, columns: [k]}""",
        "pairs",
    ),
}


def flow(shape: str, store: str, sinks: Iterable[str], *, more: str = "") -> str:
    """The text of a flow."""
    text, last, key = SHAPES[shape]
    lines = [
        "version: 1",
        f"name: {shape}",
        "sources:",
        *(
            f"  {name}: {{uses: ./shop.py/numbers, time: {{column: at}}, with: {{count: {ROWS}}}}}"
            for name in ("made", "twin")
            if name == "made" or name in text
        ),
        *([text] if text else []),
        "sinks:",
        *(f"  {sink}: {{from: {last}, {SINKS[sink].replace('KEY', key)}}}" for sink in sinks),
        f"state: {STORES[store]}",
        "checkpoint: {interval: 5ms, rows: 150}",
    ]
    return "\n".join(lines) + f"\n{more}"


def making(text: str) -> Callable[[Path], Path]:
    """Puts a flow and the shop into a folder, and makes the database that it names."""

    def make(folder: Path) -> Path:
        (folder / "shop.py").write_text(SHOP.read_text())
        path = folder / "flow.yaml"
        path.write_text(text)
        if DSN in text:
            (folder / "dsn").write_text(server().create(pg.fresh_name()))
            path.write_text(text.replace(DSN, (folder / "dsn").read_text()))
        if "keyring-file" in text:
            (folder / "keys.txt").touch(0o600)
            (folder / "keys.txt").write_text(f"k1: {base64.b64encode(bytes(32)).decode()}\n")
        return path

    return make


@functools.cache
def server() -> pg.Postgres:
    """A PostgreSQL server, as long as this process lives."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(pg.server())


def content(folder: Path) -> Mapping[str, list[Any]]:
    """What the targets in a folder hold, by the sink's name."""
    found: dict[str, list[Any]] = {}
    texts = {"staged": [*folder.glob("staged/[!.]*.jsonl")]}
    texts |= {name: [*folder.glob(f"{path}.jsonl")] for name, path in (("one_file", "one"), ("append", "append"))}
    for name, paths in texts.items():
        if paths:
            found[name] = [json.loads(line) for path in paths for line in whole_lines(path)]
    for name, path in (
        ("transactional", "table"),
        ("idempotent", "idempotent"),
        ("spooled", "spooled"),
        ("upsert", "upsert"),
    ):
        if (folder / f"{path}.db").exists():
            found[name] = table(folder / f"{path}.db")
    if (folder / "parquet").exists():
        found["parquet"] = in_parquet(folder / "parquet")
    if (folder / "duck.db").exists():
        found["duckdb"] = in_duckdb(folder / "duck.db")
    if "  postgres: " in (folder / "flow.yaml").read_text():
        found["postgres"] = in_postgres((folder / "dsn").read_text())
    return found


def whole_lines(path: Path) -> list[str]:
    """The lines of a file; one that a commit was cut off in does not count yet."""
    return path.read_text().rpartition("\n")[0].splitlines()


def table(path: Path) -> list[Any]:
    """The rows of the table `rows` in a SQLite file."""
    with sqlite3.connect(path) as db:
        db.row_factory = sqlite3.Row
        there = db.execute("select 1 from sqlite_master where name = 'rows'").fetchone()
        found = [dict(row) for row in db.execute("select * from rows")] if there else []
    db.close()
    return found


def in_parquet(folder: Path) -> list[Any]:
    """The rows of the published Parquet files of a folder."""
    import pyarrow.parquet as parquet

    return [row for path in folder.glob("**/[!._]*.parquet") for row in parquet.read_table(path).to_pylist()]


def in_duckdb(path: Path) -> list[Any]:
    """The rows of the table `rows` in a DuckDB file."""
    import duckdb

    with duckdb.connect(str(path)) as db:
        there = db.execute("select 1 from information_schema.tables where table_name = 'rows'").fetchone()
        return db.execute("select * from rows").fetchall() if there else []


def in_postgres(dsn: str) -> list[Any]:
    """The rows of the table `rows` in a PostgreSQL database."""
    import psycopg

    with psycopg.connect(dsn) as db:
        there = db.execute("select to_regclass('rows')").fetchone()
        return db.execute("select * from rows").fetchall() if there and there[0] else []
