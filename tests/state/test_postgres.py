"""What only the PostgreSQL store does: servers that die, connections that are cut, rights, passwords never shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FLOW = """
version: 1
name: counted
sources:
  numbers: {uses: std/generate, with: {rows: 2000}}
steps:
  seen: {uses: std/dedupe, from: numbers, with: {key: id}}
sinks:
  out: {uses: std/files, from: seen, with: {path: out.jsonl, format: jsonl}}
state: {uses: state/postgres, with: {dsn: "${secret:dsn}"}}
checkpoint: {interval: 10ms, rows: 300}
"""


def test_a_flow_keeps_its_state_there_by_a_secret_address(postgres: str, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    environment = {**os.environ, "DATAFLARE_SECRET_DSN": postgres}

    def dataflare(*words: str) -> str:
        command = [sys.executable, "-m", "dataflare_host", *words]
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        return ran.stdout

    ran = json.loads(dataflare("run", "flow.yaml", "--json").splitlines()[-1])
    assert (ran["status"], ran["rows"]["written"], ran["guarantee"]) == ("finished", 2000, "exactly_once")
    shown = json.loads(dataflare("state", "inspect", "flow.yaml", "--json"))
    (region,) = shown["regions"].values()
    assert region["epoch"] == ran["epoch"]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2000
    assert json.loads(dataflare("run", "flow.yaml", "--json").splitlines()[-1])["nothing_new"]
    assert "${secret:dsn}" in dataflare("run", "flow.yaml", "--plan-only")
