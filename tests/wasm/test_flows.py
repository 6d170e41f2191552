"""Whole flows with plugins in sandboxes: guests are lost in the middle, several run at once, one never ends."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflare import Batch, Sink
from dataflare.context import Context
from dataflare.drive import ProcessorDriver, driver_for
from dataflare.guest import Frame
from dataflare.hosting import lost
from dataflare.schema import Schema
from dataflare.split import Resume
from dataflare_flow import Flow
from dataflare_host import Host
from dataflare_host.manifest import Manifest
from dataflare_wasm.guest import WasmGuest
from dataflare_wasm.loader import Wasm

Making = Callable[..., Manifest]
COLLECTED: list[dict[str, Any]] = []


class Collected(Sink, ability="staged"):
    """Keeps what was committed."""

    def begin(self) -> None:
        self.staged: list[dict[str, Any]] = []

    def write(self, batch: Batch) -> None:
        self.staged += batch.to_rows()

    def prepare(self) -> list[dict[str, Any]]:
        return self.staged

    def commit(self, tokens: list[list[dict[str, Any]]]) -> None:
        COLLECTED.extend(row for token in tokens for row in token)


@pytest.fixture(autouse=True)
def nothing_collected() -> None:
    COLLECTED.clear()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host.start() as started:
        yield started


class Mortal(WasmGuest):
    """A guest that is lost in the middle of the calls that ``dies`` says yes to: its work is done, and never told."""

    dies: Callable[[Frame], bool] = staticmethod(lambda _: False)

    def _carry(self, request: Frame, answering: Any, seconds: float) -> Frame:
        answer = super()._carry(request, answering, seconds)
        if self.dies(request):
            self.sandbox.close()
            raise lost("guest.trap", self.plugin, request, "the test says so")
        return answer


def nth(op: str, *numbers: int) -> Callable[[Frame], bool]:
    """Yes to these passes of an operation."""
    passes = itertools.count(1)
    return lambda frame: frame.header["op"] == op and next(passes) in numbers


@pytest.mark.parametrize(
    ("op", "passes"),
    [("process", ()), ("process", (1,)), ("process", (3, 7)), ("read", (1,)), ("read", (4, 9)), ("snapshot", (2,))],
)
def test_no_row_is_lost_or_doubled_with_a_guest(
    plugin: Making, misbehaving: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, op: str, passes: tuple[int, ...]
) -> None:
    monkeypatch.setattr(Mortal, "dies", staticmethod(nth(op, *passes)))
    monkeypatch.setattr("dataflare_wasm.loader.WasmGuest", Mortal)
    monkeypatch.chdir(tmp_path)
    made = components(plugin(misbehaving))
    flow = Flow("lost", base=tmp_path)
    flow.checkpoint = {"interval": 0.01}
    numbers = flow.source("numbers", made["source:numbers"], count=100, size=10, at=-1)
    numbers.step("totals", made["processor:totals"], key=["n"]).step("counter", made["processor:counter"]).sink(
        "out", Collected
    )
    outcome = flow.run()
    assert outcome.status == "finished", outcome.problems
    assert sorted(row["n"] for row in COLLECTED) == list(range(100))
    assert sorted(row["row"] for row in COLLECTED) == list(range(100))


def components(manifest: Manifest) -> dict[str, Any]:
    with Host.start() as host:
        return {f"{made.kind}:{made.spec.name}": made for made in Wasm().components(manifest, host)}


def test_an_instance_that_works_does_not_notice_one_that_is_ended(
    plugin: Making, host: Host, misbehaving: Path
) -> None:
    made = {
        each.spec.name: each for each in Wasm().components(plugin(misbehaving, limits={"wall_per_batch": "1s"}), host)
    }
    ends: list[BaseException] = []

    def endless() -> None:
        try:
            processed(made["behave"](what="loop", at=5), [range(10)])
        except BaseException as error:
            ends.append(error)

    beside = threading.Thread(target=endless)
    beside.start()
    while beside.is_alive():
        found = processed(made["behave"](at=-1), [range(10), range(1000)])
    beside.join()
    assert found == [*range(10), *range(1000)]
    assert [error.code for error in ends] == ["guest.timeout"]  # type: ignore[attr-defined]


def processed(made: Any, given: list[range]) -> list[int]:
    driver = driver_for(made, Context())
    assert isinstance(driver, ProcessorDriver)
    batches = [Batch.of({"n": list(numbers)}) for numbers in given]
    driver.plan({"": Schema(batches[0].schema)})
    driver.open(Resume())
    try:
        return [row["n"] for batch in batches for _, rows in driver.process(batch).outputs for row in rows.to_rows()]
    finally:
        driver.close()


FLOW = """
version: 1
name: one
sources:
  numbers: {uses: acme/numbers, with: {count: 50, size: 10, at: -1}}
steps:
  behave: {uses: acme/behave, from: numbers, with: {what: %s, at: 25}}
sinks:
  out: {uses: std/files, from: behave, with: {path: out.jsonl, format: jsonl}}
"""
MANIFEST = """
schema = 1
[plugin]
id = "acme"
version = "0.1.0"
[api]
requires = ">=1.0,<2"
[runtime]
kind = "wasm"
entry = "plugin.wasm"
[limits]
wall_per_batch = "1s"
"""


def run(folder: Path, misbehaving: Path, what: str) -> subprocess.CompletedProcess[str]:
    """`dataflare run` of a flow in a folder whose plugin set has the plugin."""
    package = folder / "acme"
    package.mkdir()
    (package / "dataflare.toml").write_text(MANIFEST)
    (package / "plugin.wasm").write_bytes(misbehaving.read_bytes())
    (folder / "plugins.toml").write_text('[plugins.acme]\nfolder = "acme"\n')
    (folder / "flow.yaml").write_text(FLOW % json.dumps(what))
    words = [sys.executable, "-m", "dataflare_host", "run", "flow.yaml"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, env=dict(os.environ))


def test_a_flow_of_guests_runs_by_the_command(misbehaving: Path, tmp_path: Path) -> None:
    done = run(tmp_path, misbehaving, "long line")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line)["n"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(rows) == list(range(50))
    assert "acme: short" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("what", "code", "why"), [("loop", "guest.timeout", "longer"), ("exit 3", "guest.exited", "3")]
)
def test_a_flow_whose_guest_never_answers_fails_and_says_why(
    misbehaving: Path, tmp_path: Path, what: str, code: str, why: str
) -> None:
    done = run(tmp_path, misbehaving, what)
    assert done.returncode == 1
    for said in (code, "`acme` was lost in `process` of `processor:behave`", why):
        assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
