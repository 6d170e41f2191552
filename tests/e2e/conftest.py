"""A small shop of components in one file, and the command line as people and scripts call it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SHOP = '''
import json, sys
from pathlib import Path

import pyarrow.compute as pc
from dataflare import Batch, Problem, Sink, Split, Source, processor, source, tool

@source
def numbers(position: int = 0, *, count: int = 10, step: int = 4):
    """Whole numbers from zero, `step` to a batch."""
    for start in range(position, count, step):
        end = min(start + step, count)
        yield {"n": range(start, end)}, end

@source
def endless(position: int = 0):
    """Whole numbers without end."""
    while True:
        yield {"n": [position]}, position + 1
        position += 1

@processor
def even(batch: Batch) -> Batch:
    """Odd numbers are rejected."""
    return batch.reject(pc.equal(pc.bit_wise_and(batch["n"], 1), 1), "odd", "`n` must be even")

@processor
def broken(batch: Batch) -> Batch:
    """Fails on rows."""
    if len(batch):
        raise RuntimeError("the shop burnt down")
    return batch

class Save(Sink, ability="append"):
    """Lines of JSON at the end of a file."""
    path: Path

    def check(self, ctx):
        if not ctx.path(self.path).parent.is_dir():
            yield Problem("shop.no_folder", f"there is no folder for {self.path}", pointer="/path", fix="make it")

    def open(self, ctx):
        self.file = ctx.path(self.path).open("a")
        self.told = False

    def plan(self, schema):
        return None

    def write(self, batch):
        self.file.writelines(json.dumps(row) + "\\n" for row in batch.to_rows())

    def prepare(self, epoch):
        self.file.flush()

    def commit(self, epoch):
        if not self.told:
            print("committed", file=sys.stderr, flush=True)
        self.told = True

    def close(self):
        self.file.close()

@tool
def tax_of(net: float, country: str = "FR", *, rates: dict[str, float] = {"FR": 0.2}) -> float:
    """The tax on a net price."""
    return net * rates[country]
'''
FLOW = """\
version: 1
name: demo
sources:
  numbers: {uses: ./shop.py/numbers}
sinks:
  out: {uses: ./shop.py/save, from: numbers, with: {path: out.jsonl}}
"""


@dataclass(frozen=True)
class Said:
    """What a command line answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of stdout; of most commands it is the only one."""
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `shop.py` and a flow that uses it; also the current folder."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "flow.yaml").write_text(FLOW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Calls the command line in this process."""
    from dataflare_host.cli import main

    def call(*words: str) -> Said:
        capsys.readouterr()
        code = main(list(words))
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command line as a process; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def call(*words: str, **variables: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "dataflare_host", *words]
        started.append(subprocess.Popen(command, text=True, env={**os.environ, **variables}, **pipes))
        return started[-1]

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finished(process: "subprocess.Popen[str]", given: str | None = None) -> Said:
    """Waits for a process and gives what it said."""
    out, err = process.communicate(given, timeout=60)
    return Said(process.returncode, out, err)
