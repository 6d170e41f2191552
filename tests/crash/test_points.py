"""The command line itself killed at a few places, as a process of its own; every place of the code is written down."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from crash_flows import ROWS, content, flow, making

from dataflare.testing.verdict import counted
from dataflare_pipeline.crash_points import POINTS

ROOT = Path(__file__).parents[2]
POINT = re.compile(r'crash\.point\(f?"([^"]+)"\)')


def run(folder: Path, crash: str = "") -> int:
    command = [sys.executable, "-m", "dataflare_host", "run", "flow.yaml", "--json"]
    environment = {**os.environ, "DATAFLARE_CRASH": crash}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("kills", [("prepared:3",), ("decided:2", "recovery"), ("committed:3",)], ids=" ".join)
def test_killed_there_and_run_again_nothing_is_lost_or_doubled(kills: tuple[str, ...], tmp_path: Path) -> None:
    making(flow("keyed", "sqlite", ["one_file", "transactional"]))(tmp_path)
    for kill in kills:
        assert run(tmp_path, kill) == -signal.SIGKILL
    assert run(tmp_path) == 0
    wanted = counted([n, n // 4] for n in range(0, ROWS, 4))
    found = {sink: counted([row["n"], row["k"]] for row in rows) for sink, rows in content(tmp_path).items()}
    assert found == {"one_file": wanted, "transactional": wanted}


def points(folder: str) -> set[str]:
    """The places in the code of a folder."""
    return {name for path in (ROOT / folder).rglob("*.py") for name in POINT.findall(path.read_text())}


def test_every_place_is_on_the_architecture_page() -> None:
    page = (ROOT / "docs/architecture.md").read_text().partition("## Crash points")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`([a-z-]+)`", page))
    named = {name for room in ("sdk", "host", "plugins") for name in points(room) if "{" not in name}
    assert named - listed == set()


def test_the_engine_lists_its_places() -> None:
    assert points("plugins/pipeline") == set(POINTS)
