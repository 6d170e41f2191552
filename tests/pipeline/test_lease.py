"""One owner a region: refused while the other lives, taken over when it is dead, fenced when it wakes up."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dataflare import Batch, Idle, Sink, Source, Split
from dataflare.store import Store
from dataflare_flow import Flow

gate = threading.Event()
begun = threading.Event()
out: list[int] = []

OTHER = """
import sys
from pathlib import Path
from dataflare import source, sink, Idle
from dataflare_flow import Flow

@source
def endless(position: int = 0):
    "Numbers for ever."
    n = position
    while True:
        yield {"n": [n]}, n + 1
        print(n, flush=True)
        n += 1

@sink
def nowhere(batch):
    "Forgets."

flow = Flow("t", base=Path(sys.argv[1]))
flow.checkpoint = {"interval": 0.02}
flow.source("numbers", endless).sink("out", nowhere)
outcome = flow.run()
print("ended", outcome.status, *[problem.code for problem in outcome.problems], flush=True)
"""


@pytest.fixture(autouse=True)
def fresh() -> None:
    gate.clear()
    begun.clear()
    out.clear()


class Numbers(Source[int]):
    """A few numbers, then nothing until the gate opens."""

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, position + 3):
            yield {"n": [n]}, n + 1
        while not gate.is_set():
            yield Idle(after=0.01)


class Out(Sink):
    """Keeps the numbers."""

    def write(self, batch: Batch) -> None:
        out.extend(batch.to_columns()["n"])
        begun.set()


def build(flow: Flow) -> Flow:
    flow.source("numbers", Numbers).sink("out", Out)
    return flow


def test_a_second_run_is_refused_while_the_first_lives(
    flow: Flow, start: Callable[..., Any], run: Callable[..., Any]
) -> None:
    first = start(build(flow))
    assert begun.wait(30)
    second = run(flow)
    assert second.status == "failed"
    assert second.problems[0].code == "run.already_running"
    assert str(os.getpid()) in (second.problems[0].cause or "")
    gate.set()
    assert first.end().status == "finished"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """The same flow in another process, with some epochs behind it."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        script = tmp_path / "other.py"
        script.write_text(OTHER)
        process = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        started.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "100":
                break
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_dead_owner_is_replaced_at_once(
    flow: Flow, run: Callable[..., Any], other: Callable[[], subprocess.Popen[str]], store: Callable[[Flow], Store]
) -> None:
    process = other()
    process.kill()
    process.wait()
    gate.set()
    assert run(build(flow)).status == "finished"
    info = store(flow).lease_info("t", "numbers")
    assert info is not None
    assert info.token == 2
    assert info.released


def freeze(process: subprocess.Popen[str], path: Path) -> None:
    """Stop a process outside its transactions: one that is frozen in the middle locks SQLite's file for everybody."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as direct:
                direct.execute("begin immediate")
                direct.execute("rollback")
            return
        except sqlite3.OperationalError:
            os.kill(process.pid, signal.SIGCONT)


def test_a_frozen_owner_is_replaced_and_fenced_when_it_wakes_up(
    flow: Flow, run: Callable[..., Any], other: Callable[[], subprocess.Popen[str]]
) -> None:
    flow.engine = {"uses": "pipeline/pipeline", "with": {"lease": {"beat": "100ms", "patience": "2s"}}}
    process = other()
    freeze(process, Path(flow.base) / ".dataflare" / "t.db")
    gate.set()
    taken = run(build(flow))
    assert taken.status == "finished"
    position = taken.epoch
    os.kill(process.pid, signal.SIGCONT)
    assert process.stdout is not None
    last = [line for line in process.stdout if line.startswith("ended")]
    process.wait(30)
    assert last == ["ended failed state.fenced\n"]
    again = run(flow)
    assert again.epoch == position, "the zombie committed nothing"
