"""However a flow ends, it ends in bounded time, with the right status, its lease given back and nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflare import Batch, Idle, Sink, Source, Split, processor, sink, source
from dataflare.errors import Failed, Retry
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

out: list[int] = []
reached = threading.Event()
"""The component is where the test wants it."""
free = threading.Event()
"""What blocks may go on: set when the test is over, so that no thread stays."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    out.clear()
    reached.clear()
    free.clear()
    yield
    free.set()


class Numbers(Source[int], rows={"n": int}):
    """Numbers; then it blocks, or goes on for ever."""

    count: int = 10
    then: str = "end"
    where: str = "read"

    def open(self) -> None:
        self._block("open")

    def splits(self) -> list[Split]:
        self._block("splits")
        return [Split("all")]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, self.count):
            yield {"n": [n]}, n + 1
        self._block("read")
        while self.then == "idle" and not free.is_set():
            yield Idle(after=0.005)

    def _block(self, where: str) -> None:
        if self.then == "block" and self.where == where:
            reached.set()
            free.wait()


class Out(Sink[int]):
    """Keeps the rows; blocks in one operation."""

    where: str = ""

    def write(self, batch: Batch) -> None:
        self._block("write")
        out.extend(batch.to_columns()["n"])
        if 9 in out and not self.where:
            reached.set()

    def prepare(self, epoch: int) -> int:
        self._block("prepare")
        return epoch

    def commit(self, epoch: int) -> None:
        self._block("commit")
        if self.where == "refuse":
            reached.set()
            raise Retry(0.005, "the target is away")

    def _block(self, where: str) -> None:
        if self.where == where:
            reached.set()
            free.wait()


def released(store: Store, region: str) -> bool:
    info = store.lease_info("t", region)
    return info is not None and info.released


def test_a_source_that_never_returns_from_read_does_not_keep_a_flow_from_stopping(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    flow.source("numbers", Numbers, then="block").sink("out", Out)
    running = start(flow, grace=0.05)
    assert reached.wait(30)
    running.runner.command("stop", {})
    outcome = running.end()
    assert (outcome.status, outcome.written) == ("stopped", 10)
    assert released(store(flow), "numbers")


def test_a_final_drain_does_not_wait_for_a_source_that_never_returns(flow: Flow, start: Callable[..., Any]) -> None:
    flow.source("numbers", Numbers, then="block").sink("out", Out)
    running = start(flow, grace=0.05)
    assert reached.wait(30)
    running.runner.command("drain", {"final": True})
    assert running.end().status == "finished"


@pytest.mark.parametrize("where", ["open", "splits", "read"])
def test_an_abort_ends_a_flow_wherever_its_source_is(flow: Flow, start: Callable[..., Any], where: str) -> None:
    flow.source("numbers", Numbers, then="block", where=where).sink("out", Out)
    running = start(flow, grace=0.05)
    assert reached.wait(30)
    running.runner.command("abort", {})
    outcome = running.end()
    assert outcome.status == "failed"
    assert outcome.problems[0].code == "run.aborted"


@pytest.mark.parametrize("where", ["write", "prepare", "commit", "refuse"])
def test_a_stop_that_a_sink_holds_up_ends_with_its_timeout(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store], where: str
) -> None:
    flow.source("numbers", Numbers, then="idle").sink("out", Out, where=where)
    running = start(flow, drain_timeout=0.2, grace=0.05)
    assert reached.wait(30)
    running.runner.command("stop", {})
    outcome = running.end()
    assert outcome.status == "failed"
    assert outcome.problems[0].code == "run.drain_timeout"
    assert released(store(flow), "numbers")


def test_a_stop_that_opening_holds_up_ends_with_its_timeout(flow: Flow, start: Callable[..., Any]) -> None:
    flow.source("numbers", Numbers, then="block", where="open").sink("out", Out)
    running = start(flow, drain_timeout=0.2, grace=0.05)
    assert reached.wait(30)
    running.runner.command("stop", {})
    assert running.end().problems[0].code == "run.drain_timeout"


def test_a_stop_while_somebody_else_holds_the_lease_is_a_stop(flow: Flow, start: Callable[..., Any]) -> None:
    flow.source("numbers", Numbers, then="idle").sink("out", Out)
    first = start(flow)
    assert reached.wait(30)
    second = start(flow)
    second.runner.command("stop", {})
    ended = second.end()
    assert ended.status == "stopped" or ended.problems[0].code == "run.already_running"
    first.runner.command("stop", {})
    assert first.end().status == "stopped"


def test_a_failing_step_ends_the_flow_though_its_source_never_returns(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    @processor
    def breaks(batch: Batch) -> Batch:
        """Breaks once the source blocks."""
        if 9 in batch.to_columns()["n"]:
            reached.wait(30)
            raise ValueError("broken")
        return batch

    flow.source("numbers", Numbers, then="block").step("breaks", breaks, lanes=1).sink("out", Out)
    outcome = start(flow, grace=0.05).end()
    assert outcome.problems[0].code == "step.failed"
    assert released(store(flow), "numbers")


def test_one_region_that_fails_ends_the_others_at_a_barrier(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    @source(rows={"n": int})
    def broken(position: int = 0) -> Any:
        """Breaks."""
        reached.wait(30)
        raise Failed.of("broken.source", "broken for good")
        yield

    @sink
    def nowhere(batch: Batch) -> None:
        """Forgets."""

    flow.source("numbers", Numbers, then="idle").sink("out", Out)
    flow.source("broken", broken).sink("nowhere", nowhere)
    outcome = start(flow).end()
    assert outcome.status == "failed"
    assert [problem.code for problem in outcome.problems] == ["broken.source"]
    kept = store(flow).load("t", "numbers")
    assert kept is not None
    assert kept.settled
    assert kept.splits["numbers"][0].position == 10
    assert released(store(flow), "numbers")
    assert released(store(flow), "broken")


# --- sources that cannot be read again ----------------------------------------------------------------


class Once(Source[Any]):
    """Rows that exist once; the tenth has one more column."""

    wider: bool = False

    def read(self) -> Iterator[Any]:
        for n in range(10):
            if n == 9:
                reached.set()
                free.wait(30)
            yield {"n": [n], "extra": [n]} if self.wider and n == 9 else {"n": [n]}
        while True:
            yield Idle(after=0.005)


@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("wider", [False, True])
def test_what_was_taken_from_a_source_without_replay_is_written_before_a_stop(
    flow: Flow, start: Callable[..., Any], wider: bool, rows: int | None
) -> None:
    @processor
    def waits(batch: Batch) -> Batch:
        """Holds the tenth row until the flow is to stop."""
        if 9 in batch.to_columns()["n"]:
            held.set()
            go_on.wait(30)
        return batch

    held, go_on = threading.Event(), threading.Event()
    flow.checkpoint = {"interval": 3600, **({"rows": rows} if rows else {})}
    flow.source("once", Once, wider=wider).step("waits", waits).sink("out", Out)
    running = start(flow)
    assert reached.wait(30)
    free.set()
    if not wider:  # a wider row asks for a checkpoint before it comes to the step
        assert held.wait(30)
    running.runner.command("stop", {})
    go_on.set()
    assert running.end().status == "stopped"
    if not wider:
        assert out == list(range(10))
    else:
        assert out in (list(range(9)), list(range(10)))


def test_a_flow_that_failed_can_be_run_again_at_once(
    flow: Flow, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.source("numbers", Numbers).sink("out", Out)
    with monkeypatch.context() as patched:
        patched.setattr(Numbers, "open", lambda self: 1 / 0)
        outcome = run(flow)
        assert outcome.problems[0].code == "step.failed"
        assert "division by zero" in outcome.problems[0].message
    assert run(flow).status == "finished"
    assert out == list(range(10))
