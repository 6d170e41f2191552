"""Repeating what failed: nothing is reordered or doubled; a step that keeps failing shows as an open circuit."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare import Batch, ConfigError, Failed, Retry, Sink, Source, Split, processor
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome
from dataflare_pipeline.channel import Closed
from dataflare_pipeline.circuit import OPENS_AFTER, Circuit
from dataflare_pipeline.policy import Policy

lock = threading.Lock()
chance = random.Random(0)
often = 0.0
committed: list[tuple[str, int]] = []
calls: list[str] = []
broken = threading.Event()
RETRY = {"retry": {"attempts": 50, "delay": "1ms", "cap": "2ms"}}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    committed.clear()
    calls.clear()
    broken.clear()
    yield
    broken.clear()


def flaky(what: str) -> None:
    """Fails now and then, in one of the ways that are repeated."""
    with lock:
        calls.append(what)
        way = chance.random() / often if often else 1.0
    if way < 0.4:
        raise Retry(0.0, f"{what} is busy")
    if way < 0.7:
        raise Failed.of("test.busy", f"{what} is busy", kind="retry")
    if way < 1.0:
        raise OSError(f"{what} is away")


class Several(Source[int], rows={"split": str, "n": int}):
    """Splits that each count up."""

    def splits(self) -> list[Split]:
        return [Split(f"s{n}") for n in range(4)]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for start in range(position, 60, 6):
            flaky("read")
            rows = list(range(start, start + 6))
            yield {"split": [split.id] * 6, "n": rows}, start + 6


@processor(cardinality="one")
def through(batch: Batch) -> Batch:
    """The rows, where it works."""
    if len(batch):  # not when it is planned
        flaky("process")
    return batch


class Kept(Sink[list[Any]], ability="transactional", fencing="target", lanes=1):
    """Rows by epoch; every operation fails now and then."""

    def begin(self, epoch: int) -> None:
        self._rows: list[tuple[str, int]] = []

    def write(self, batch: Batch) -> None:
        rows = [(row["split"], row["n"]) for row in batch.to_rows()]
        flaky("write")
        self._rows += rows

    def prepare(self, epoch: int) -> list[Any]:
        flaky("prepare")
        return [epoch, self._rows]

    def commit(self, epoch: int, tokens: list[Any]) -> None:
        done = committed_epochs
        with lock:
            calls.append("commit")
            fails = bool(often) and chance.random() < often / 2
        for number, rows in tokens:
            if number not in done:
                done.add(number)
                committed.extend((split, n) for split, n in rows)
        if fails:  # also after it has done its work: a commit may be repeated
            raise OSError("commit is away")


committed_epochs: set[int] = set()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**16), rate=st.sampled_from([0.1, 0.3, 0.5]), lanes=st.integers(1, 3))
def test_whatever_fails_and_is_repeated_no_row_is_lost_doubled_or_overtaken(
    run: Callable[..., Outcome], tmp_path_factory: Any, seed: int, rate: float, lanes: int
) -> None:
    global often
    chance.seed(seed)
    often = rate
    committed.clear()
    committed_epochs.clear()
    flow = Flow("t", base=tmp_path_factory.mktemp("flow"))
    flow.checkpoint = {"interval": 0.005}
    made = flow.source("several", Several, lanes=lanes, on_error=RETRY)
    made.step("through", through, on_error=RETRY).sink("kept", Kept, on_error=RETRY)
    outcome = run(flow)
    assert outcome.status == "finished", outcome.problems
    for split in (f"s{n}" for n in range(4)):
        assert [n for name, n in committed if name == split] == list(range(60))
    assert len(committed) == 240


@processor
def stuck(batch: Batch) -> Batch:
    """Fails while it is broken."""
    if broken.is_set():
        raise Retry(0.01, "the service is away")
    return batch


def test_a_step_that_keeps_failing_shows_as_an_open_circuit_until_it_works(
    flow: Flow, start: Callable[..., Any]
) -> None:
    broken.set()
    often_before(0.0)
    flow.source("several", Several).step("stuck", stuck, on_error={"retry": {"attempts": 10_000}}).sink("kept", Kept)
    committed_epochs.clear()
    running = start(flow)
    seen: dict[str, Any] = {"state": "closed"}
    while seen["state"] == "closed":
        seen = running.runner.command("status", {})["steps"]["stuck"]["circuit"]
    assert seen["failures"] >= OPENS_AFTER
    assert seen["since"] < seen["next_try"]
    assert seen["problem"]["message"] == "the service is away"
    assert running.runner.command("status", {})["steps"]["kept"]["circuit"]["state"] == "closed"
    broken.clear()
    assert running.end().status == "finished"
    last = running.runner.command("status", {})["steps"]["stuck"]["circuit"]
    assert last == {"state": "closed", "failures": 0, "since": None, "next_try": None, "problem": None}
    assert len(committed) == 240


def often_before(rate: float) -> None:
    global often
    often = rate


@pytest.mark.parametrize("kind", ["config", "fatal"])
def test_what_is_wrong_for_good_is_not_repeated(flow: Flow, run: Callable[..., Outcome], kind: str) -> None:
    often_before(0.0)

    @processor
    def wrong(batch: Batch) -> Batch:
        """Cannot work."""
        if not len(batch):
            return batch
        calls.append("wrong")
        raise (ConfigError if kind == "config" else Failed).of("test.wrong", "this cannot work")

    flow.source("several", Several, lanes=1).step("wrong", wrong, on_error="retry").sink("kept", Kept)
    outcome = run(flow)
    assert (outcome.status, outcome.problems[0].code) == ("failed", "test.wrong")
    assert calls.count("wrong") == 1


def test_an_error_of_the_kind_reject_refuses_the_rows(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    often_before(0.0)
    committed_epochs.clear()

    @processor
    def refusing(batch: Batch) -> Batch:
        """Refuses what comes from s1."""
        if "s1" in batch.to_columns()["split"]:
            raise Failed.of("test.refused", "not from there", kind="reject")
        return batch

    flow.source("several", Several).step("refusing", refusing).sink("kept", Kept)
    outcome = run(flow)
    assert (outcome.status, outcome.rejected, len(committed)) == ("finished", 60, 180)
    assert {letter.code for letter in store(flow).letters("t")} == {"test.refused"}


def test_pauses_grow_up_to_a_cap_and_never_beyond_it() -> None:
    policy = Policy("retry", delay=0.1, factor=2.0, cap=1.0)
    for attempt in range(12):
        whole = min(1.0, 0.1 * 2**attempt)
        assert all(0.75 * whole <= policy.wait(attempt) <= whole for _ in range(50))
    assert len({policy.wait(3) for _ in range(20)}) > 1


def test_one_lane_tries_while_the_others_wait() -> None:
    circuit, cancel, tried = Circuit(), threading.Event(), threading.Barrier(2)
    for _ in range(OPENS_AFTER):
        circuit.failed(ConfigError.of("test.away", "away").problems[0], 0.0)
    assert circuit.state == "open"
    order: list[str] = []

    def other() -> None:
        tried.wait(10)
        with circuit.call(cancel):
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with circuit.call(cancel):
        assert circuit.state == "half_open"
        tried.wait(10)
        order.append("first")
        circuit.passed()
    thread.join(10)
    assert order == ["first", "other"]


def test_who_waits_for_a_circuit_leaves_when_the_attempt_is_over() -> None:
    circuit, cancel = Circuit(), threading.Event()
    for _ in range(OPENS_AFTER):
        circuit.failed(ConfigError.of("test.away", "away").problems[0], 3600.0)
    cancel.set()
    with pytest.raises(Closed), circuit.call(cancel):
        raise AssertionError("it was let through")
