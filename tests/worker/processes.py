"""What the tests of guests in processes share: a guest that is opened and called, and which processes are alive."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataflare import Batch
from dataflare.guest import Frame
from dataflare.guest.encoding import decode, encode
from dataflare.schema import Schema
from dataflare_worker.process import Launch
from dataflare_worker.transport import ProcessTransport

HERE = Path(__file__).parent
ROWS = pa.record_batch({"n": pa.array([1, 2, 3])})


def no_questions(frame: Frame) -> Frame:
    raise AssertionError(f"asked {frame.header}")


class Guest:
    """A guest of which one processor may be opened and called."""

    def __init__(self, launch: Launch) -> None:
        self.transport = ProcessTransport(launch)

    def open(self, component: str = "misbehave", batch: pa.RecordBatch = ROWS, **config: Any) -> Guest:
        schemas = {"": Schema(batch.schema).as_json()}
        header = {"op": "open", "instance": 1, "component": f"processor:{component}", "config": config}
        answer = self.ask(Frame({**header, "encoding": "arrow", "schemas": schemas, "context": {"step": "odd"}}))
        assert answer.header == {}
        return self

    def process(self, batch: pa.RecordBatch = ROWS, seconds: float = 60) -> pa.RecordBatch:
        answer = self.ask(Frame({"op": "process", "instance": 1, "part": 0}, [encode(Batch(batch), "arrow")]), seconds)
        assert "error" not in answer.header, answer.header
        return decode(answer.parts[0], "arrow").arrow

    def ask(self, frame: Frame, seconds: float = 60) -> Frame:
        return self.transport.call(frame, no_questions, seconds)


def is_alive(pid: int) -> bool:
    """Whether it runs, and is not merely waiting for its exit status to be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def group_of(pid: int) -> set[int]:
    """The processes alive in a process group."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.getpgid(int(name)) == pid and is_alive(int(name)):
                    found.add(int(name))
            except OSError:
                continue
    return found


def until(true: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for something that others bring about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
