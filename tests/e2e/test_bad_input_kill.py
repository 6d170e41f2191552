"""SIGKILL at any moment, then the same command: the targets hold the rows of an undisturbed run, each once."""

import contextlib
import json
import random
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as dataset
import pytest

SOURCE = """\
version: 1
name: demo
sources:
  readings: {uses: std/files, with: {path: in.jsonl, block: 4096, SPLIT}}
steps:
  hot: {uses: std/filter, from: readings, with: {where: "temperature > 0"}}
  warm: {uses: std/compute, from: hot, with: {columns: {fahrenheit: "temperature * 9 / 5 + 32"}}}
checkpoint: {interval: 20ms}
sinks:
"""
FILES = """\
  one: {uses: std/files, from: warm, with: {path: one.jsonl}}
  table: {uses: std/files, from: warm, with: {path: one.csv}}
  parquet: {uses: std/files, from: warm, with: {path: one.parquet}}
  folder: {uses: std/files, from: warm, with: {path: folder/, format: jsonl}}
  columns: {uses: std/files, from: warm, with: {path: columns/, format: parquet}}
"""
SQL = """\
  added: {uses: std/sql, from: warm, with: {uri: "sqlite:///t.db", table: added}}
  newest: {uses: std/sql, from: warm, with: {uri: "sqlite:///u.db", table: newest, mode: upsert, key: [device]}}
"""
ROWS = 20_000
KILLS = 3


def readings(folder: Path) -> None:
    """Rows that tell themselves apart, forty of each device."""
    drawn = random.Random(7)
    lines = [
        json.dumps({"id": n, "device": n // 40, "temperature": drawn.randint(-20, 40), "note": "é" * (n % 7)})
        for n in range(ROWS)
    ]
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")


def held(folder: Path) -> dict[str, Counter[Any]]:
    """What each target holds: how often each row is there."""
    found: dict[str, Counter[Any]] = {}
    for name, form in (("one.jsonl", "json"), ("folder", "json"), ("one.csv", "csv"), ("columns", "parquet")):
        if (folder / name).exists():
            rows = dataset.dataset(folder / name, format=form).to_table().to_pylist()
            found[name] = Counter(tuple(sorted(row.items())) for row in rows)
    if (folder / "one.parquet").exists():
        rows = dataset.dataset(folder / "one.parquet").to_table().to_pylist()
        found["one.parquet"] = Counter(tuple(sorted(row.items())) for row in rows)
    for base, table in (("t.db", "added"), ("u.db", "newest")):
        if (folder / base).exists():
            with sqlite3.connect(folder / base) as connection:
                found[table] = Counter(connection.execute(f"SELECT id, device, temperature, note FROM {table}"))
            connection.close()
    return found


@pytest.mark.parametrize(
    ("sinks", "split", "seed"),
    [(FILES, "split_size: 200KB", 1), (SQL, "ordered: true", 2)],
    ids=["files", "sql"],
)
def test_a_flow_killed_again_and_again_writes_what_an_undisturbed_one_does(
    sinks: str, split: str, seed: int, tmp_path: Path, say: Callable, start: Callable
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        folder.mkdir()
        readings(folder)
        (folder / "flow.yaml").write_text(SOURCE.replace("SPLIT", split) + sinks)
    began = time.monotonic()
    assert start("run", str(calm / "flow.yaml"), "--quiet").wait(60) == 0
    whole = time.monotonic() - began
    moments = random.Random(seed)
    for _ in range(KILLS):
        process = start("run", str(killed / "flow.yaml"), "--quiet")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(whole * moments.uniform(0.45, 0.8))
        process.kill()
        process.wait()
    last = say("run", str(killed / "flow.yaml"), "--json")
    assert (last.code, last.json["status"]) == (0, "finished"), last.err
    wanted, found = held(calm), held(killed)
    assert set(found) == set(wanted)
    for name, rows in wanted.items():
        assert sum(rows.values()) > 400
        assert found[name] == rows, name
    assert not list(killed.rglob("*.staged")), "nothing staged is left behind"
