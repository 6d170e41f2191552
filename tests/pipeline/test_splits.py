"""Which splits are read, when, and from where: the committed list decides, order between splits is kept."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from dataflare import Batch, Idle, Source, Split, sink
from dataflare.errors import Retry
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

events: list[tuple[Any, ...]] = []
free = threading.Event()
reached = threading.Event()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    free.clear()
    reached.clear()
    yield
    free.set()


@sink
def keep(batch: Batch) -> None:
    """Keeps the rows."""
    events.extend(("row", split, n) for split, n in zip(*batch.to_columns().values(), strict=True))


def rows(split: str) -> list[int]:
    return [event[2] for event in events if event[:2] == ("row", split)]


class Copied(Source[int], rows={"split": str, "n": int}):
    """A snapshot in parts, then the stream of what changed since."""

    after: list[str] = ["a", "b"]

    def splits(self) -> list[Split]:
        return [Split("stream", start=100, after=tuple(self.after)), Split("a"), Split("b", start=0)]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        events.append(("read", split.id, position))
        for n in range(position, position + 5 if split.id != "stream" else 105):
            yield {"split": [split.id], "n": [n]}, n + 1

    def acknowledge(self, split: Split, position: int) -> None:
        events.append(("told", split.id, position))


def test_a_stream_starts_once_its_snapshot_is_committed_without_waiting_for_the_interval(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    flow.checkpoint = {"interval": 3600}
    flow.source("copied", Copied).sink("keep", keep)
    assert run(flow).status == "finished"
    assert rows("a") == rows("b") == list(range(5))
    assert rows("stream") == list(range(100, 105))
    begun = events.index(("read", "stream", 100))
    assert events.index(("told", "a", 5)) < begun or ("told", "a", 5) in events[begun : begun + 8]
    assert [event for event in events[begun:] if event[0] == "row" and event[1] != "stream"] == []
    kept = store(flow).load("t", "copied")
    assert kept is not None
    assert kept.epoch in (2, 3)


def test_a_split_that_waits_for_one_that_is_not_there_is_refused(flow: Flow, run: Callable[..., Outcome]) -> None:
    flow.source("copied", Copied, after=["a", "c"]).sink("keep", keep)
    outcome = run(flow)
    assert outcome.problems[0].code == "source.splits"
    assert "`c`" in outcome.problems[0].message


class Growing(Source[int], rows={"split": str, "n": int}):
    """Splits appear while the first one is still read; it ends once the last of them was."""

    def splits(self, position: int = 0) -> Iterator[Any]:
        try:
            for n in range(position, 4):
                yield [Split(f"s{n}")], n + 1
        finally:
            events.append(("splits closed",))

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, 3):
            yield {"split": [split.id], "n": [n]}, n + 1
        while split.id == "s0" and not rows("s3") and not free.is_set():
            yield {"split": ["s0"], "n": [3]}, 3
        if split.id == "s3":
            reached.set()


@pytest.mark.parametrize("lanes", [1, 2])
def test_new_splits_are_found_while_others_are_read(
    flow: Flow, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    monkeypatch.setattr("dataflare_pipeline.source_lane.DISCOVER_EVERY", 0.0)
    if lanes == 1:
        free.set()  # a lane reads one split until it has nothing
    flow.source("growing", Growing, lanes=lanes).sink("keep", keep)
    assert run(flow).status == "finished"
    assert all(rows(f"s{n}")[:3] == [0, 1, 2] for n in range(4))
    assert events.count(("splits closed",)) == 1


def test_rounds_of_splits_go_on_after_a_stop_and_are_closed_with_it(
    flow: Flow, start: Callable[..., Any], run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    class Watched(Growing, rows={"split": str, "n": int}):
        """A new split at each look, for ever."""

        def splits(self, position: int = 0) -> Iterator[Any]:
            n = position
            try:
                while True:
                    yield [Split(f"s{n}")], n + 1
                    n += 1
            finally:
                events.append(("splits closed",))

        def read(self, split: Split, position: int = 0) -> Iterator[Any]:
            for n in range(position, 3):
                yield {"split": [split.id], "n": [n]}, n + 1

        def acknowledge(self, split: Split) -> None:
            reached.set()

    flow.source("watched", Watched).sink("keep", keep)
    for _ in range(2):
        reached.clear()
        running = start(flow)
        assert reached.wait(30)
        running.runner.command("stop", {})
        assert running.end().status == "stopped"
    assert events.count(("splits closed",)) == 2
    kept = store(flow).load("t", "watched")
    assert kept is not None
    done = [state.id for state in kept.splits["watched"] if state.status == "finished"]
    assert len(done) == len(set(done)) >= 2
    assert kept.discovery["watched"] == len(kept.splits["watched"])
    assert all(rows(split) == [0, 1, 2] for split in done)


def test_a_source_with_every_is_read_again_from_where_it_was(flow: Flow, start: Callable[..., Any]) -> None:
    class Polled(Source[int], rows={"split": str, "n": int}):
        """One number more each time it is asked."""

        def read(self, split: Split, position: int = 0) -> Iterator[Any]:
            events.append(("read", split.id, position))
            if position < 5:
                yield {"split": [split.id], "n": [position]}, position + 1
            else:
                reached.set()

    flow.source("polled", Polled, every=0.001).sink("keep", keep)
    running = start(flow)
    assert reached.wait(30)
    running.runner.command("stop", {})
    assert running.end().status == "stopped"
    assert rows("all") == list(range(5))
    assert [event[2] for event in events if event[0] == "read"][:6] == list(range(6))


def test_a_source_whose_progress_waits_for_acknowledgements_asks_for_its_epochs(
    flow: Flow, run: Callable[..., Outcome]
) -> None:
    class Queue(Source[int], rows={"split": str, "n": int}, replay="redelivery", ack_gated=True):
        """Gives ten numbers, then none until they were acknowledged."""

        acknowledged = 0

        def read(self, split: Split, ctx: Any) -> Iterator[Any]:
            given = 0
            while given < 50:
                if given - self.acknowledged < 10:
                    yield {"split": ["all"], "n": [given]}, given + 1
                    given += 1
                else:
                    ctx.request_checkpoint()
                    yield Idle(after=0.005)

        def acknowledge(self, position: int) -> None:
            self.acknowledged = position

    flow.checkpoint = {"interval": 3600}
    flow.source("queue", Queue).sink("keep", keep)
    outcome = run(flow)
    assert outcome.status == "finished", outcome.problems
    assert rows("all") == list(range(50))
    assert outcome.epoch >= 5


def test_an_async_source_is_told_while_it_waits(flow: Flow, run: Callable[..., Outcome]) -> None:
    class Pushed(Source[int], rows={"split": str, "n": int}):
        """Waits for the acknowledgement of each number before it gives the next."""

        async def read(self, split: Split, position: int = 0) -> AsyncIterator[Any]:
            import asyncio

            for n in range(position, 3):
                yield {"split": ["all"], "n": [n]}, n + 1
                while ("told", n + 1) not in events:
                    await asyncio.sleep(0)

        async def acknowledge(self, position: int) -> None:  # type: ignore[override]
            events.append(("told", position))

    flow.checkpoint = {"interval": 0.001}
    flow.source("pushed", Pushed).sink("keep", keep)
    assert run(flow).status == "finished"
    assert rows("all") == [0, 1, 2]


def test_a_source_that_breaks_is_read_again_by_its_policy(flow: Flow, run: Callable[..., Outcome]) -> None:
    broken = [ValueError("lost"), Retry(0.001, "busy"), ValueError("lost")]

    class Shaky(Source[int], rows={"split": str, "n": int}):
        """Breaks three times, once behind a row without a resume point."""

        def read(self, split: Split, position: int = 0) -> Iterator[Any]:
            for n in range(position, 6):
                if n % 2:
                    yield {"split": ["all"], "n": [n]}, n + 1
                    continue
                yield {"split": ["all"], "n": [n]}, None
                if broken:
                    raise broken.pop()

        # rows without a position are given again with the next read

    flow.source("shaky", Shaky, on_error={"retry": {"attempts": 3, "delay": 0.001}}).sink("keep", keep)
    assert run(flow).status == "finished"
    assert rows("all") == list(range(6))
