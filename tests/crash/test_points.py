"""SIGKILL at every named place of the engine, then the same command: the sink holds exactly the undisturbed rows."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dataflare_pipeline.crash_points import POINTS

ROWS = 3000
FLOW = """
version: 1
name: crash
sources:
  made: {{uses: ./made.py/numbers, with: {{count: {rows}}}}}
steps:
  firsts: {{uses: std/dedupe, from: made, with: {{key: [k]}}}}
  small:  {{uses: std/filter, from: made, with: {{where: "n % 3 = 0"}}}}
sinks:
  firsts_out: {{uses: std/sql, from: firsts, with: {{uri: "sqlite:///out.db", table: firsts, mode: append}}}}
  small_out:  {{uses: {sink}, from: small, with: {with_}}}
state: {{uses: {store}, with: {{path: state}}}}
checkpoint: {{interval: 5ms, rows: 500}}
"""
SOURCE = '''
from dataflare import source

@source
def numbers(position: int = 0, *, count: int = 100):
    """Numbers, a hundred at a time; every key comes ten times."""
    for start in range(position, count, 100):
        rows = range(start, min(start + 100, count))
        yield {"n": list(rows), "k": [n // 10 for n in rows]}, rows[-1] + 1
'''
SINKS = {
    "std/sql": '{uri: "sqlite:///out.db", table: small, mode: append}',
    "std/files": "{path: small.jsonl, format: jsonl}",
}


def write_flow(folder: Path, sink: str, store: str) -> Path:
    (folder / "made.py").write_text(SOURCE)
    path = folder / "flow.yaml"
    path.write_text(FLOW.format(rows=ROWS, sink=sink, with_=SINKS[sink], store=store))
    return path


def run(flow: Path, crash: str = "") -> int:
    environment = {**os.environ, "DATAFLARE_CRASH": crash, "DATAFLARE_CACHE": str(flow.parent.parent / "cache")}
    command = [sys.executable, "-m", "dataflare_host", "run", str(flow), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr + done.stdout)
    if done.returncode == 0:
        assert json.loads(done.stdout.splitlines()[-1])["status"] == "finished"
    return done.returncode


def rows_of(folder: Path, sink: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    with sqlite3.connect(folder / "out.db") as db:
        firsts = db.execute("select n, k from firsts").fetchall()
        small = db.execute("select n, k from small").fetchall() if sink == "std/sql" else []
    if sink == "std/files":
        lines = (folder / "small.jsonl").read_text().splitlines()
        small = [(row["n"], row["k"]) for row in map(json.loads, lines)]
    return sorted(firsts), sorted(small)


WANTED = (
    [(n, n // 10) for n in range(0, ROWS, 10)],
    [(n, n // 10) for n in range(0, ROWS, 3)],
)


@pytest.mark.parametrize("sink", list(SINKS))
@pytest.mark.parametrize("point", POINTS)
def test_killed_there_and_run_again_nothing_is_lost_or_doubled(tmp_path: Path, point: str, sink: str) -> None:
    flow = write_flow(tmp_path, sink, "state/sqlite")
    if point == "recovery":
        assert run(flow, "decided:2") == -signal.SIGKILL
        assert run(flow, "recovery") == -signal.SIGKILL
    else:
        assert run(flow, f"{point}:{1 if point == 'opened' else 2}") == -signal.SIGKILL
        run(flow, f"{point}:2")
    run(flow)
    assert rows_of(tmp_path, sink) == WANTED


@pytest.mark.parametrize("point", ["commit-point", "decided", "sink-commit"])
def test_the_file_store_keeps_the_same_promise(tmp_path: Path, point: str) -> None:
    flow = write_flow(tmp_path, "std/sql", "state/file")
    assert run(flow, f"{point}:3") == -signal.SIGKILL
    run(flow)
    assert rows_of(tmp_path, "std/sql") == WANTED


@pytest.mark.parametrize(("sink", "point"), [("std/sql", "sink-move"), ("std/files", "sink-publish")])
@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_death_inside_a_commit_is_carried_out_by_the_next_run(
    tmp_path: Path, sink: str, point: str, epoch: int
) -> None:
    flow = write_flow(tmp_path, sink, "state/sqlite")
    assert run(flow, f"{point}:{epoch}") == -signal.SIGKILL
    run(flow, f"{point}:1")
    run(flow)
    assert rows_of(tmp_path, sink) == WANTED
