"""Sources that forget what is acknowledged, killed around it: a queue in a process of its own, over a socket."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_flows import SHOP, content

from dataflare.testing import Crashes
from dataflare.testing.verdict import counted

PLACES = ("prepared", "store-commit", "decided", "sink-commit", "committed", "acknowledge", "acknowledged", "settle")
WIDE = os.environ.get("DATAFLARE_CRASHES", "fast") != "fast"
FLOW = """
version: 1
name: queue
sources:
  messages: {{uses: ./shop.py/{source}, with: {{address: {address}, queue: {queue}{acks}}}}}
sinks:
  staged: {{from: messages, uses: std/files, with: {{path: staged/, format: jsonl}}}}
  transactional: {{from: messages, uses: std/sql, with: {{uri: "sqlite:///table.db", table: rows}}}}
state: {{uses: state/file, with: {{path: state}}}}
checkpoint: {{interval: 5ms, rows: 60}}
"""


@pytest.fixture(scope="module")
def address() -> Iterator[Path]:
    """Where the queue server listens."""
    with tempfile.TemporaryDirectory(prefix="dfq-") as folder:
        path = Path(folder) / "queue.sock"
        command = [sys.executable, Path(__file__).parent / "queue_server.py", path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield path
            server.kill()


def crashes(address: Path, source: str, acks: str = "") -> Crashes:
    def make(folder: Path) -> Path:
        (folder / "shop.py").write_text(SHOP.read_text())
        flow = folder / "flow.yaml"
        flow.write_text(FLOW.format(source=source, address=address, queue=folder.name, acks=acks))
        return flow

    return Crashes(make, content)


@pytest.mark.parametrize("acks", ["once", "twice", "late"])
def test_stable_ids_are_exactly_once_however_they_are_acknowledged(address: Path, acks: str) -> None:
    killed = crashes(address, "stable", f", acks: {acks}")
    assert set(killed.guarantees.values()) == {"exactly_once"}
    assert killed.wanted["transactional"] == counted({"id": id, "n": id * 7} for id in range(1, 301))
    places = None if WIDE else PLACES if acks == "once" else PLACES[-4:]
    verdicts = list(killed.everywhere(places))
    assert len(verdicts) >= 4
    assert [each for each in verdicts if not each.held] == []


def test_without_stable_ids_nothing_is_lost_and_something_doubles(address: Path) -> None:
    killed = crashes(address, "changing")
    assert set(killed.guarantees.values()) == {"at_least_once"}
    verdicts = [each for place in PLACES[1:6] for each in killed.killed(f"{place}:2")]
    assert [each for each in verdicts if not each.held] == []
    assert any(each.doubled for each in verdicts), "the weaker promise is the one that is needed"
