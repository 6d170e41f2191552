"""The order of an epoch, which is the engine's promise: downstream durable, positions durable, upstream told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflare import Batch, Idle, Processor, Sink, Source, Split
from dataflare.errors import Failed, Retry
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

events: list[tuple[Any, ...]] = []
gate = threading.Event()
all_told = threading.Event()


@pytest.fixture(autouse=True)
def fresh() -> None:
    events.clear()
    gate.clear()
    all_told.clear()


class Ticks(Source[int]):
    """Numbers, until the gate opens; it wants to be told what is safe."""

    count: int = 500
    forever: bool = False

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, self.count):
            yield {"n": [n]}, n + 1
        while self.forever and not gate.is_set():
            yield Idle(after=0.01)

    def acknowledge(self, split: Split, position: int) -> None:
        events.append(("told", position))
        if position == self.count:
            all_told.set()


class Ledger(Sink[int], ability="transactional"):
    """Remembers every call; what is published is under ``published``."""

    name: str = "ledger"
    refuse: int = 0

    def open(self, resume: Any) -> None:
        self.rows: list[int] = []
        events.append(("open", self.name, resume.epoch, dict(resume.tokens)))

    def begin(self, epoch: int) -> None:
        events.append(("begin", self.name, epoch))

    def write(self, batch: Batch, epoch: int) -> None:
        events.append(("write", self.name, epoch, batch.to_columns()["n"]))
        self.rows += batch.to_columns()["n"]

    def prepare(self, epoch: int, last: bool) -> list[int]:
        events.append(("prepare", self.name, epoch, last))
        rows, self.rows = self.rows, []
        return rows

    def commit(self, epoch: int, tokens: list[list[int]]) -> None:
        if self.refuse:
            self.refuse -= 1
            raise Retry(cause="the target is away")
        events.append(("commit", self.name, epoch, [n for rows in tokens for n in rows]))

    def abort(self, epoch: int) -> None:
        events.append(("abort", self.name, epoch))


class Twice(Processor):
    """Numbers twice as large."""

    def process(self, batch: Batch) -> Any:
        return {"n": [2 * n for n in batch.to_columns()["n"]]}


def published(sink: str = "ledger") -> list[int]:
    """What the sink's decided epochs hold; a repeated commit counts once."""
    by_epoch = {event[2]: event[3] for event in events if event[:2] == ("commit", sink)}
    return [n for _, rows in sorted(by_epoch.items()) for n in rows]


def test_every_epoch_prepares_commits_and_tells_in_that_order(flow: Flow, run: Callable[..., Outcome]) -> None:
    flow.source("ticks", Ticks).step("twice", Twice).sink("out", Ledger)
    assert run(flow).status == "finished"
    assert published() == [2 * n for n in range(500)]
    epochs = sorted({event[2] for event in events if event[0] == "prepare"})
    assert epochs == list(range(1, len(epochs) + 1))
    for epoch in epochs:
        at = {kind: _index(kind, epoch) for kind in ("begin", "prepare", "commit")}
        assert at["begin"] < at["prepare"] < at["commit"]
    told = [index for index, event in enumerate(events) if event[0] == "told"]
    assert events[told[-1]] == ("told", 500)
    for index in told:
        rows_before = [n for event in events[:index] if event[0] == "commit" for n in event[3]]
        assert 2 * (events[index][1] - 1) in rows_before


def test_no_row_of_an_epoch_is_written_before_the_one_before_is_prepared(
    flow: Flow, run: Callable[..., Outcome]
) -> None:
    flow.source("ticks", Ticks, count=2000).sink("out", Ledger)
    run(flow)
    prepared = 0
    for event in events:
        if event[0] == "prepare":
            prepared = event[2]
        if event[0] == "write":
            assert event[2] == prepared + 1


def test_two_sinks_commit_the_same_rows_in_one_epoch(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    ticks = flow.source("ticks", Ticks)
    ticks.sink("one", Ledger, {"name": "one"})
    ticks.step("twice", Twice).sink("two", Ledger, {"name": "two"})
    run(flow)
    assert published("one") == list(range(500))
    assert published("two") == [2 * n for n in range(500)]
    last = store(flow).load("t", "ticks")
    assert last is not None
    assert set(last.tokens) == {"one", "two"}
    assert last.finished
    assert last.settled


def test_a_commit_that_fails_is_repeated_until_it_succeeds_and_nobody_is_told_before(
    flow: Flow, run: Callable[..., Outcome]
) -> None:
    flow.source("ticks", Ticks, count=3).sink("out", Ledger, refuse=2)
    outcome = run(flow)
    assert outcome.status == "finished"
    assert published() == [0, 1, 2]
    assert _index("told", 3) > events.index(("commit", "ledger", 1, [0, 1, 2]))


def test_a_commit_refused_for_good_is_carried_out_first_by_the_next_run(
    flow: Flow, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.source("ticks", Ticks, count=3).sink("out", Ledger)
    commit = Ledger.commit

    def never(self: Ledger, epoch: int, tokens: list[list[int]]) -> None:
        raise Failed.of("ledger.closed", "the ledger is closed")

    monkeypatch.setattr(Ledger, "commit", never)
    outcome = run(flow)
    assert outcome.status == "failed"
    assert outcome.problems[0].code == "commit_pending"
    assert not [event for event in events if event[0] in ("told", "abort")]
    monkeypatch.setattr(Ledger, "commit", commit)
    events.clear()
    again = run(flow)
    assert again.status == "finished"
    assert [event[0] for event in events if event[0] in ("commit", "told", "write")] == ["commit", "told"]
    assert published() == [0, 1, 2]


def test_a_failed_epoch_is_aborted_and_the_next_run_goes_on_from_the_last_one(
    flow: Flow, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.checkpoint = {"interval": 10, "rows": 100}
    flow.source("ticks", Ticks, count=400).sink("out", Ledger)
    prepare = Ledger.prepare

    def second_fails(self: Ledger, epoch: int, last: bool) -> list[int]:
        if epoch == 2:
            raise Failed.of("ledger.full", "no room")
        return prepare(self, epoch, last)

    monkeypatch.setattr(Ledger, "prepare", second_fails)
    outcome = run(flow)
    assert outcome.problems[0].code == "ledger.full"
    assert outcome.epoch == 1
    assert ("abort", "ledger", 2) in events
    monkeypatch.setattr(Ledger, "prepare", prepare)
    assert run(flow).status == "finished"
    assert published() == list(range(400))


def test_stop_is_not_the_end_of_input(flow: Flow, start: Callable[..., Any], run: Callable[..., Outcome]) -> None:
    flow.source("ticks", Ticks, count=100, forever=True).sink("out", Ledger)
    running = start(flow)
    assert all_told.wait(30)
    running.runner.command("stop", {})
    assert running.end().status == "stopped"
    assert not [event for event in events if event[0] == "prepare" and event[3]]
    gate.set()
    assert run(flow).status == "finished"
    assert published() == list(range(100))
    assert [event for event in events if event[0] == "prepare" and event[3]]


def test_a_final_drain_ends_an_endless_flow_as_if_its_input_had_ended(flow: Flow, start: Callable[..., Any]) -> None:
    flow.source("ticks", Ticks, count=10, forever=True).sink("out", Ledger)
    running = start(flow)
    assert all_told.wait(30)
    running.runner.command("drain", {"final": True})
    assert running.end().status == "finished"
    assert [event for event in events if event[0] == "prepare" and event[3]]


def test_nothing_is_committed_where_nothing_changed(flow: Flow, start: Callable[..., Any]) -> None:
    flow.source("ticks", Ticks, count=10, forever=True).sink("out", Ledger)
    running = start(flow)
    assert all_told.wait(30)
    first = running.runner.command("checkpoint", {})["epochs"]["ticks"]
    assert running.runner.command("checkpoint", {})["epochs"]["ticks"] == first
    running.runner.command("stop", {})
    assert running.end().epoch == first


def test_an_edit_moves_a_split_at_a_barrier_and_is_remembered(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    flow.source("ticks", Ticks, count=10, forever=True).sink("out", Ledger)
    running = start(flow)
    assert all_told.wait(30)
    all_told.clear()
    edited = running.runner.command("edit", {"step": "ticks", "split": "all", "position": 7})
    assert all_told.wait(30)
    running.runner.command("stop", {})
    running.end()
    assert published() == [*range(10), 7, 8, 9]
    last = store(flow).load("t", "ticks")
    assert last is not None
    assert last.guarantee == [f"edited at {edited['epoch']}"]


def _index(kind: str, key: int) -> int:
    at = 2 if kind in ("begin", "prepare", "commit") else 1
    return next(index for index, event in enumerate(events) if event[0] == kind and event[at] == key)
