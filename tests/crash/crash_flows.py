"""The flows that the crash suite kills: shapes x stores x sinks, as files in a folder, and what their sinks hold."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROWS = 600
SHOP = Path(__file__).parent / "crash_shop.py"
STORES = {
    "file": "{uses: state/file, with: {path: state}}",
    "sqlite": "{uses: state/sqlite, with: {path: state.db}}",
    "memory": "{uses: state/memory}",
}
SINKS = {
    "staged": "uses: std/files, with: {path: staged/, format: jsonl}",
    "one_file": "uses: std/files, with: {path: one.jsonl}",
    "transactional": 'uses: std/sql, with: {uri: "sqlite:///table.db", table: rows}',
    "idempotent": "uses: ./shop.py/keyed-rows, with: {path: idempotent.db}",
    "append": "uses: ./shop.py/lines, with: {path: append.jsonl}",
    "spooled": "deliver: on_commit, uses: ./shop.py/keyed-rows, with: {path: spooled.db}",
}
SHAPES = {
    "map": ("", "made"),
    "steps": (
        """
  twice: {uses: std/compute, from: made, with: {columns: {m: "n * 2"}}}
  some: {uses: std/filter, from: twice, with: {where: "n % 3 <> 0"}}""",
        "some",
    ),
    "keyed": ("\n  firsts: {uses: std/dedupe, lanes: 2, from: made, with: {key: [k]}}", "firsts"),
    "numbered": ("\n  numbered: {uses: ./shop.py/numbered, lanes: 2, from: made, with: {key: [k]}}", "numbered"),
}


def flow(shape: str, store: str, sinks: Iterable[str], *, more: str = "") -> str:
    """The text of a flow."""
    steps, last = SHAPES[shape]
    lines = [
        "version: 1",
        f"name: {shape}",
        "sources:",
        f"  made: {{uses: ./shop.py/numbers, with: {{count: {ROWS}}}}}",
        *([f"steps:{steps}"] if steps else []),
        "sinks:",
        *(f"  {sink}: {{from: {last}, {SINKS[sink]}}}" for sink in sinks),
        f"state: {STORES.get(store, store)}",
        "checkpoint: {interval: 5ms, rows: 200}",
    ]
    return "\n".join(lines) + f"\n{more}"


def making(text: str) -> Callable[[Path], Path]:
    """Puts a flow and the shop into a folder."""

    def make(folder: Path) -> Path:
        (folder / "shop.py").write_text(SHOP.read_text())
        (folder / "flow.yaml").write_text(text)
        return folder / "flow.yaml"

    return make


def content(folder: Path) -> Mapping[str, list[Any]]:
    """What the targets in a folder hold, by the sink's name."""
    found: dict[str, list[Any]] = {}
    texts = {"staged": [*folder.glob("staged/[!.]*.jsonl")]}
    texts |= {name: [*folder.glob(f"{path}.jsonl")] for name, path in (("one_file", "one"), ("append", "append"))}
    for name, paths in texts.items():
        if paths:
            found[name] = [json.loads(line) for path in paths for line in whole_lines(path)]
    for name, path in (("transactional", "table"), ("idempotent", "idempotent"), ("spooled", "spooled")):
        if (folder / f"{path}.db").exists():
            found[name] = table(folder / f"{path}.db")
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
