"""Event time follows what may still come: an idle or finished input holds nothing back, an unread one does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dataflare import Batch, Idle, Processor, Source, Split, State, processor, sink
from dataflare.state import state
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = {"key": str, "n": int, "at": datetime}
out: list[dict[str, Any]] = []
free = threading.Event()
fired = threading.Event()
"""The sink has rows of the first key's timer."""
safe = threading.Event()
mended = threading.Event()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    out.clear()
    for event in (free, fired, safe, mended):
        event.clear()
    yield
    free.set()


def row(key: str, minute: int) -> dict[str, Any]:
    return {"key": key, "n": minute, "at": START + timedelta(minutes=minute)}


class Minutes(Source[int], rows=ROWS):
    """A row a minute, each by itself; then idle until free, or at once at its end."""

    key: str = "a"
    minutes: int = 60
    ends: bool = False

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, self.minutes):
            yield [row(self.key, n)], n + 1
        while not self.ends and not free.is_set():
            yield Idle(after=0.005)

    def acknowledge(self, position: int) -> None:
        if position == self.minutes:
            safe.set()


class HalfHour(Processor, by="key"):
    """Tells each key half an hour after its first row."""

    key: str = "key"
    first: State[str] = state()

    def plan(self, schema: Any) -> dict[str, Any]:
        return {"key": str, "told": datetime}

    def process(self, batch: Batch, ctx: Any) -> None:
        known = self.first.get(batch)
        for index, (held, at) in enumerate(zip(known, batch.to_columns()["at"], strict=True)):
            if held is None:
                one = batch.slice(index, 1)
                self.first.put(one, [at.isoformat()])
                ctx.timers.set(one, at + timedelta(minutes=30))

    def timer(self, keys: Batch, time: datetime) -> Any:
        return [{"key": key, "told": time} for key in keys.to_columns()["key"]]


@sink
def keep(batch: Batch) -> None:
    """Keeps the rows."""
    out.extend(batch.to_rows())
    if any(row["key"] == "a" for row in batch.to_rows()):
        fired.set()


def told() -> list[tuple[str, int]]:
    return sorted((row["key"], int((row["told"] - START).total_seconds() // 60)) for row in out)


@pytest.fixture
def timed(flow: Flow) -> Flow:
    flow.time = {"column": "at", "lateness": 0}
    return flow


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("minutes", [0, 5])
def test_an_input_that_is_idle_or_over_does_not_hold_time_back(
    timed: Flow, start: Callable[..., Any], minutes: int, ends: bool
) -> None:
    busy = timed.source("busy", Minutes)
    other = timed.source("other", Minutes, key="b", minutes=minutes, ends=ends)
    timed.step("half", HalfHour, [busy, other]).sink("keep", keep)
    running = start(timed)
    assert fired.wait(30)
    free.set()
    assert running.end().status == "finished"
    assert told() == [("a", 30), *([("b", 30)] if minutes else [])]


def test_time_passes_through_a_step_whose_input_is_idle(timed: Flow, start: Callable[..., Any]) -> None:
    @processor
    def same(batch: Batch) -> Batch:
        """Passes everything."""
        return batch

    busy = timed.source("busy", Minutes)
    quiet = timed.source("quiet", Minutes, key="b", minutes=1).step("same", same, lanes=1)
    timed.step("half", HalfHour, [busy, quiet], lanes=2).sink("keep", keep)
    running = start(timed)
    assert fired.wait(30)
    free.set()
    assert running.end().status == "finished"


class Two(Source[int], rows=ROWS):
    """Two splits: the second is read once the first one is far ahead."""

    def splits(self) -> list[Split]:
        return [Split("a"), Split("b")]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, 60):
            yield [row(split.id, n)], n + 1


@pytest.mark.parametrize("lanes", [1, 2])
def test_an_unread_split_holds_time_back_so_that_no_row_is_late(
    timed: Flow, run: Callable[..., Outcome], lanes: int
) -> None:
    class Late(HalfHour, by="key"):
        """Counts rows that come behind the watermark."""

        mark = START

        def plan(self, schema: Any) -> dict[str, Any]:
            return {"key": str, "told": datetime}

        def process(self, batch: Batch, ctx: Any) -> None:
            assert min(batch.to_columns()["at"]) >= self.mark
            super().process(batch, ctx)

        def watermark(self, time: datetime) -> None:
            self.mark = min(time, START + timedelta(days=1))

    timed.source("two", Two, lanes=lanes).step("late", Late).sink("keep", keep)
    outcome = run(timed)
    assert outcome.status == "finished", outcome.problems
    assert told() == [("a", 30), ("b", 30)]


def test_a_replay_does_not_stop_the_clock(timed: Flow, start: Callable[..., Any]) -> None:
    @processor
    def strict(batch: Batch) -> Batch:
        """Refuses the rows of `b` until it is mended."""
        return batch if mended.is_set() else batch.reject(pc.equal(batch["key"], "b"), "b", "not yet")

    class Steps(Minutes, rows=ROWS):
        """Goes on once it is mended and the replay is done."""

        def read(self, split: Split, position: int = 0) -> Iterator[Any]:
            for n in range(position, self.minutes):
                while n == 10 and not replayed.is_set():
                    yield Idle(after=0.005)
                yield [row("a", n)], n + 1
            while not free.is_set():
                yield Idle(after=0.005)

    replayed = threading.Event()
    steps = timed.source("steps", Steps)
    others = timed.source("others", Minutes, key="b", minutes=3)
    timed.step("strict", strict, [steps, others], lanes=1).step("half", HalfHour).sink("keep", keep)
    running = start(timed)
    assert safe.wait(30)
    mended.set()
    assert running.runner.command("replay", {})["rows"] == 3
    replayed.set()
    assert fired.wait(30), "the replay's port holds the watermark back"
    free.set()
    assert running.end().status == "finished"
    assert ("b", 30) in told()


def test_event_time_goes_on_where_it_was_after_a_stop(
    timed: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    timed.source("minutes", Minutes, minutes=20).step("half", HalfHour).sink("keep", keep)
    running = start(timed)
    assert safe.wait(30)
    running.runner.command("stop", {})
    running.end()
    kept = store(timed).load("t", "minutes")
    assert kept is not None
    reached = (START + timedelta(minutes=19)).isoformat()
    assert kept.watermarks == {"minutes/all": reached, "half": reached}
    assert out == []
    free.set()
    again = start(timed)
    assert again.end().status == "finished"
    assert told() == [("a", 30)]


# --- processing time -----------------------------------------------------------------------------------


class Soon(Processor, by="key"):
    """Tells each key a moment later, by the clock on the wall."""

    key: str = "key"
    refuse: bool = False
    seen: State[bool] = state()

    def plan(self, schema: Any) -> dict[str, Any]:
        return {"key": str}

    def process(self, batch: Batch, ctx: Any) -> None:
        self.seen.put(batch, [True] * len(batch))
        ctx.timers.set(batch, datetime.now(UTC), event=False)

    def timer(self, keys: Batch) -> Any:
        if self.refuse:
            return keys.reject([True] * len(keys), "too_soon", "not now")
        return [{"key": key} for key in keys.to_columns()["key"]]


def test_timers_of_the_clock_on_the_wall_fire_without_further_rows(flow: Flow, start: Callable[..., Any]) -> None:
    flow.source("minutes", Minutes, minutes=1).step("soon", Soon).sink("keep", keep)
    running = start(flow)
    assert fired.wait(30)
    free.set()
    assert running.end().status == "finished"
    assert out == [{"key": "a"}]


def test_what_a_timer_refuses_is_a_letter(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    flow.source("minutes", Minutes, minutes=1, ends=True).step("soon", Soon, refuse=True).sink("keep", keep)
    outcome = run(flow)
    assert (outcome.status, outcome.rejected) == ("finished", 1)
    assert [(letter.step, letter.code) for letter in store(flow).letters("t")] == [("soon", "too_soon")]


@pytest.mark.parametrize(
    ("kind", "count", "reached"),
    [
        (pa.timestamp("ns"), 1_767_225_600_000_000_999, START),
        (pa.timestamp("s", "Europe/Paris"), 1_767_225_600, START),
        (pa.date32(), 20_454, START),
    ],
    ids=str,
)
def test_time_of_every_kind_moves_on(
    timed: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store], kind: Any, count: int, reached: datetime
) -> None:
    class Once(Source[int]):
        """One row."""

        def plan(self) -> Any:
            return pa.schema([("at", kind)])

        def read(self, position: int = 0) -> Iterator[Any]:
            if not position:
                whole = pa.int32() if kind == pa.date32() else pa.int64()
                yield pa.record_batch({"at": pa.array([count], whole).cast(kind)}), 1

    timed.source("once", Once).sink("count", "std/count")
    outcome = run(timed)
    assert outcome.status == "finished", outcome.problems
    kept = store(timed).load("t", "once")
    assert kept is not None
    assert datetime.fromisoformat(kept.watermarks["once/all"]) == reached
