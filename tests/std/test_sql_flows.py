"""Whole flows into PostgreSQL and DuckDB, killed inside their transactions and run again: every row once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

ROWS = 2000
FLOW = """
version: 1
name: tables
sources:
  made: {uses: ./made.py/numbers, with: {count: 2000}}
sinks:
  added:    {uses: std/sql, from: made, with: {uri: "${secret:DB}", table: added}}
  latest:   {uses: std/sql, from: made, with: {uri: "${secret:DB}", table: latest, mode: upsert, key: [k]}}
  at_once:  {uses: std/sql-upsert, from: made, with: {uri: "${secret:DB}", table: at_once, key: k}}
  in_a_file: {uses: std/sql, from: made, with: {uri: "duckdb:///rows.duckdb", table: added}}
state: {uses: state/sqlite, with: {path: state.db}}
checkpoint: {interval: 5ms, rows: 400}
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


def run(folder: Path, dsn: str, crash: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DATAFLARE_CRASH": crash,
        "DATAFLARE_SECRET_DB": dsn,
        "DATAFLARE_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "dataflare_host", "run", str(folder / "flow.yaml"), "--json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("point", ["sink-move:2", "sink-move:6", "sink-put:9"])
def test_killed_inside_a_transaction_and_run_again_nothing_is_lost_or_doubled(
    tmp_path: Path, postgres: str, point: str
) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "made.py").write_text(SOURCE)
    for crash in (point, f"{point.partition(':')[0]}:1"):
        killed = run(tmp_path, postgres, crash)
        assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    done = run(tmp_path, postgres, "")
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (told["status"], told["guarantee"]) == ("finished", "effectively_once")
    everything = [(n, n // 10) for n in range(ROWS)]
    latest = everything[9::10]
    with psycopg.connect(postgres) as connection:
        for table, wanted in (("added", everything), ("latest", latest), ("at_once", latest)):
            assert connection.execute(f"SELECT n, k FROM {table} ORDER BY n".encode()).fetchall() == wanted, table
        stages = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'dataflare@_stage@_%' ESCAPE '@'"
        assert connection.execute(stages).fetchall() == []
    with duckdb.connect(tmp_path / "rows.duckdb") as file:
        assert file.execute("SELECT n, k FROM added ORDER BY n").fetchall() == everything
