"""A failure anywhere names its step, gives the lease back, and leaves a state that the next run goes on from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflare import Batch, Idle, Processor, Sink, Source, Split, processor
from dataflare.errors import Failed, Reject, Retry, StateError
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome
from dataflare_state.sqlite import Sqlite

out: dict[int, list[int]] = {}
"""Epoch → numbers that its commit published."""
fences: list[int] = []
told: list[int] = []
failing: dict[str, list[BaseException]] = {}
"""Operation → what its next calls raise."""


@pytest.fixture(autouse=True)
def fresh() -> None:
    for kept in (out, fences, told, failing):
        kept.clear()


def may_fail(operation: str) -> None:
    if failing.get(operation):
        raise failing[operation].pop(0)


class Numbers(Source[int], rows={"n": int}):
    """A hundred numbers."""

    def on_created(self) -> dict[str, str]:
        may_fail("source.on_created")
        return {"slot": "s1"}

    def open(self, resume: Any) -> None:
        assert resume.made == {"slot": "s1"}
        may_fail("source.open")

    def splits(self) -> Iterator[Split]:
        may_fail("source.splits")
        yield Split("all")

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, 100):
            if n == 50:
                may_fail("source.read")
            yield {"n": [n]}, n + 1

    def acknowledge(self, position: int) -> None:
        may_fail("source.acknowledge")
        told.append(position)

    def close(self) -> None:
        may_fail("source.close")


class Sum(Processor):
    """Passes the numbers; keeps their sum."""

    def open(self) -> None:
        self.sum = 0
        may_fail("step.open")

    def process(self, batch: Batch) -> Batch:
        if 50 in batch.to_columns()["n"]:
            may_fail("step.process")
        self.sum += sum(batch.to_columns()["n"])
        return batch

    def snapshot(self) -> bytes:
        may_fail("step.snapshot")
        return str(self.sum).encode()

    def restore(self, data: bytes) -> None:
        may_fail("step.restore")
        self.sum = int(data)


class Ledger(Sink[list[int]], ability="transactional"):
    """Publishes epochs."""

    def open(self, ctx: Any) -> None:
        self.rows: list[int] = []
        fences.append(ctx.fence)
        may_fail("sink.open")

    def begin(self, epoch: int) -> None:
        may_fail("sink.begin")

    def write(self, batch: Batch) -> None:
        may_fail("sink.write")
        self.rows += batch.to_columns()["n"]

    def prepare(self, epoch: int) -> list[int]:
        may_fail("sink.prepare")
        rows, self.rows = self.rows, []
        return rows

    def commit(self, epoch: int, tokens: list[list[int]]) -> None:
        may_fail("sink.commit")
        out[epoch] = [n for rows in tokens for n in rows]

    def abort(self, epoch: int) -> None:
        self.rows = []
        may_fail("sink.abort")

    def recover(self) -> int | None:
        may_fail("sink.recover")
        return max(out, default=None)


@pytest.fixture
def built(flow: Flow) -> Flow:
    flow.checkpoint = {"interval": 3600, "rows": 20}
    flow.source("numbers", Numbers).step("sum", Sum).sink("ledger", Ledger)
    return flow


def published() -> list[int]:
    return [n for _, rows in sorted(out.items()) for n in rows]


OPERATIONS = [
    *("source.on_created", "source.open", "source.splits", "source.read", "source.acknowledge"),
    *("step.open", "step.process", "step.snapshot"),
    *("sink.open", "sink.begin", "sink.write", "sink.prepare", "sink.recover"),
]
STEPS = {"source": "numbers", "step": "sum", "sink": "ledger"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_failure_names_its_step_and_the_next_run_goes_on(
    built: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store], operation: str
) -> None:
    failing[operation] = [ValueError("broken")]
    outcome = run(built)
    assert outcome.status == "failed"
    (problem,) = outcome.problems
    assert problem.code == "step.failed"
    assert problem.details["step"] == STEPS[operation.partition(".")[0]]
    assert "test_failures.py" in (problem.cause or "")
    info = store(built).lease_info("t", "numbers")
    assert info is not None
    assert info.released
    assert run(built).status == "finished"
    assert published() == list(range(100))
    assert told[-1] == 100


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_asks_for_another_try_gets_it_in_the_same_run(
    built: Flow, run: Callable[..., Outcome], operation: str, quickly: None
) -> None:
    failing[operation] = [Retry(0.001, "not yet"), Retry(0.001, "not yet")]
    outcome = run(built)
    assert outcome.status == "finished", outcome.problems
    assert (outcome.read, outcome.written) == (100, 100)
    assert published() == list(range(100))


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataflare_pipeline.policy import Policy

    monkeypatch.setattr("dataflare_pipeline.runner.RESTART", Policy("retry", attempts=5, delay=0.001))


def test_an_attempt_after_a_failure_has_a_token_of_its_own(
    built: Flow, run: Callable[..., Outcome], quickly: None
) -> None:
    failing["step.snapshot"] = [Retry(0.001), Retry(0.001)]
    assert run(built).status == "finished"
    assert fences == [1, 2, 3]


def test_an_attempt_that_never_gets_further_is_given_up(
    built: Flow, run: Callable[..., Outcome], quickly: None
) -> None:
    failing["source.acknowledge"] = [Retry(0.001, "no answer") for _ in range(100)]
    outcome = run(built)
    assert outcome.status == "failed"
    assert outcome.problems[0].code == "step.retry"
    assert len(failing["source.acknowledge"]) > 80


@pytest.mark.parametrize("operation", ["source.close", "sink.abort"])
def test_a_failure_while_leaving_hides_nothing(built: Flow, run: Callable[..., Outcome], operation: str) -> None:
    failing["step.process"] = [Failed.of("sum.broken", "broken")]
    failing[operation] = [ValueError("cannot leave either")]
    assert run(built).problems[0].code == "sum.broken"
    assert run(built).status == "finished"
    assert published() == list(range(100))


def test_a_snapshot_that_cannot_be_restored_names_its_step(built: Flow, run: Callable[..., Outcome]) -> None:
    failing["source.read"] = [ValueError("broken")]
    run(built)
    failing["step.restore"] = [ValueError("unreadable")]
    outcome = run(built)
    assert outcome.problems[0].details["step"] == "sum"
    assert "unreadable" in outcome.problems[0].message
    assert run(built).status == "finished"


def test_a_commit_that_is_rejected_is_refused_for_good(built: Flow, run: Callable[..., Outcome]) -> None:
    failing["sink.commit"] = [Reject("ledger.closed", "no more")]
    outcome = run(built)
    assert outcome.problems[0].code == "commit_pending"
    assert run(built).status == "finished"
    assert published() == list(range(100))


def test_a_step_that_fails_while_a_commit_is_blocked_is_what_ends_the_flow(
    flow: Flow, run: Callable[..., Outcome]
) -> None:
    blocked = threading.Event()

    class Blocked(Ledger, name="blocked", ability="transactional"):
        """Its commits come to nothing at first."""

        def commit(self, epoch: int, tokens: list[list[int]]) -> None:
            blocked.set()
            raise ConnectionError("the target is away")

    @processor
    def breaks(batch: Batch) -> Batch:
        """Breaks once a commit is blocked."""
        if batch.to_columns()["n"][-1] >= 20:
            blocked.wait(30)
            raise ValueError("broken")
        return batch

    flow.checkpoint = {"interval": 3600, "rows": 20}
    flow.source("numbers", Numbers).step("breaks", breaks).sink("ledger", Blocked)
    outcome = run(flow)
    assert outcome.problems[0].code == "step.failed"
    assert outcome.problems[0].details["step"] == "breaks"


# --- the store -----------------------------------------------------------------------------------------


def fail_store(monkeypatch: pytest.MonkeyPatch, operation: str, call: int, error: Exception, *, after: bool) -> None:
    """The store's ``operation`` fails once, at its ``call``-th call: before anything happened or ``after`` all did."""
    original, calls = getattr(Sqlite, operation), [0]

    def failing_once(self: Sqlite, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise error
        result = original(self, *args, **kwargs)
        if calls[0] == call:
            raise error
        return result

    monkeypatch.setattr(Sqlite, operation, failing_once)


LOCKED = StateError.of("state.locked", "somebody holds the store", kind="retry")
FULL = StateError.of("state.disk_full", "no room left")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("operation", ["commit", "settle", "prune", "load"])
def test_a_store_that_fails_once_costs_one_attempt_and_no_row(
    built: Flow,
    run: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    quickly: None,
    operation: str,
    after: bool,
) -> None:
    fail_store(monkeypatch, operation, 1 if operation == "load" else 3, LOCKED, after=after)
    outcome = run(built)
    assert outcome.status == "finished", outcome.problems
    assert outcome.written == 100 or (operation, after) == ("commit", True)
    assert published() == list(range(100))
    assert told[-1] == 100


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("operation", ["commit", "settle"])
def test_a_full_disk_ends_the_flow_and_the_next_run_goes_on(
    built: Flow, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, operation: str, after: bool
) -> None:
    with monkeypatch.context() as patched:
        fail_store(patched, operation, 3, FULL, after=after)
        outcome = run(built)
    assert outcome.status == "failed"
    assert outcome.problems[0].code == "state.disk_full"
    assert run(built).status == "finished"
    assert published() == list(range(100))


def test_a_lease_that_cannot_be_given_back_hides_nothing(
    built: Flow, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_store(monkeypatch, "release", 1, FULL, after=False)
    assert run(built).status == "finished"
    assert published() == list(range(100))


def test_a_store_that_does_not_open_is_the_outcome_and_commands_are_answered(
    built: Flow, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_store(monkeypatch, "open", 1, OSError("no such device"), after=False)
    running = start(built)
    outcome = running.end()
    assert outcome.status == "failed"
    assert "no such device" in outcome.problems[0].message
    with pytest.raises(StateError):
        running.runner.command("checkpoint", {})
    assert running.runner.command("status", {})["status"] == "failed"


# --- what people see meanwhile -------------------------------------------------------------------------


class Waiting(Source[int], rows={"n": int}):
    """Ten numbers, told; breaks once; ten more, then nothing until it is free to end."""

    def read(self, position: int = 0) -> Iterator[Any]:
        for n in range(position, 20):
            if n == 10:
                while not halfway.is_set():
                    yield Idle(after=0.005)
                may_fail("waiting.read")
            yield {"n": [n]}, n + 1
        while not free.is_set():
            yield Idle(after=0.005)

    def acknowledge(self, position: int) -> None:
        (halfway if position == 10 else safe if position == 20 else threading.Event()).set()


halfway, safe, free = threading.Event(), threading.Event(), threading.Event()


def test_the_status_counts_each_row_once_over_attempts_and_forgets_a_problem_that_has_passed(
    flow: Flow, start: Callable[..., Any], quickly: None
) -> None:
    for event in (halfway, safe, free):
        event.clear()
    failing["waiting.read"] = [Failed.of("waiting.broken", "not now", kind="retry")]
    flow.source("waiting", Waiting).sink("ledger", Ledger)
    running = start(flow)
    assert safe.wait(30)
    status = running.runner.command("status", {})
    assert status["rows"] == {"read": 20, "written": 20, "rejected": 0, "dropped": 0}
    assert (status["steps"]["ledger"]["in"], status["steps"]["ledger"]["out"]) == (20, 20)
    assert status["problem"] is None
    assert status["status"] == "running"
    assert failing["waiting.read"] == []
    free.set()
    assert running.end().written == 20
    ended = running.runner.command("status", {})
    assert ended["status"] == "finished"
    assert ended["rows"] == status["rows"]
