"""State by key: exact over restarts, the same in any number of lanes; timers and watermarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dataflare import Batch, Processor, Split, State, sink, source
from dataflare.component import Source
from dataflare.state import state
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

out: list[dict[str, Any]] = []
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fresh() -> None:
    out.clear()


@source
def visits(position: int = 0, *, until: int = 300, keys: int = 7) -> Any:
    """Visits of a few keys."""
    for n in range(position, until, 10):
        rows = [{"key": f"k{m % keys}", "n": m} for m in range(n, min(n + 10, until))]
        yield rows, n + len(rows)


class Running(Processor, by="key"):
    """Numbers the visits of each key."""

    key: str = "key"
    seen: State[int] = state()

    def plan(self, schema: Any) -> Any:
        return schema.with_column("count", int)

    def process(self, batch: Batch) -> Any:
        before = self.seen.get(batch)
        counts: Counter[str] = Counter()
        rows = []
        for row, held in zip(batch.to_rows(), before, strict=True):
            counts[row["key"]] += 1
            rows.append({**row, "count": (held or 0) + counts[row["key"]]})
        latest = {row["key"]: row["count"] for row in rows}
        self.seen.put(batch, [latest[row["key"]] for row in rows])
        return rows


@sink
def keep(batch: Batch) -> None:
    """Keeps the rows."""
    out.extend(batch.to_rows())


def expected(until: int, keys: int = 7) -> list[tuple[str, int, int]]:
    counts: Counter[str] = Counter()
    rows = []
    for n in range(until):
        counts[f"k{n % keys}"] += 1
        rows.append((f"k{n % keys}", n, counts[f"k{n % keys}"]))
    return rows


@pytest.mark.parametrize("lanes", [1, 3])
def test_state_is_exact_in_any_number_of_lanes(flow: Flow, run: Callable[..., Outcome], lanes: int) -> None:
    flow.source("visits", visits).step("running", Running, lanes=lanes).sink("keep", keep)
    assert run(flow).status == "finished"
    assert sorted((r["key"], r["n"], r["count"]) for r in out) == sorted(expected(300))


def test_state_goes_on_after_a_stop_and_with_another_number_of_lanes(
    flow: Flow, run: Callable[..., Outcome], tmp_path: Any
) -> None:
    for until, lanes in ((100, 1), (200, 4), (300, 2)):
        again = Flow("t", base=tmp_path)
        # the split's end moves: a finished split stays finished, so each round brings a new one
        again.source("visits", Growing, until=until).step("running", Running, lanes=lanes).sink("keep", keep)
        assert run(again).status == "finished"
    assert sorted((r["key"], r["n"], r["count"]) for r in out) == sorted(expected(300))


class Growing(Source[int]):
    """Visits in splits of a hundred."""

    until: int = 100

    def splits(self) -> list[Split]:
        return [Split(f"{n}-{n + 100}", data={"start": n}) for n in range(0, self.until, 100)]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        start = split.data["start"]
        for n in range(start + position, start + 100, 10):
            yield [{"key": f"k{m % 7}", "n": m} for m in range(n, n + 10)], n + 10 - start


def test_the_store_holds_changed_keys_only_once(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    flow.source("visits", visits).step("running", Running).sink("keep", keep)
    run(flow)
    kept = {key: value for key, value, _ in store(flow).state("t", "visits", "running", "seen")}
    assert len(kept) == 7
    assert sorted(int(value) for value in kept.values()) == sorted(Counter(n % 7 for n in range(300)).values())


# --- event time ---------------------------------------------------------------------------------------


@source
def readings(position: int = 0, *, minutes: int = 30) -> Any:
    """A reading a minute."""
    for n in range(position, minutes):
        yield [{"key": f"k{n % 2}", "n": n, "at": START + timedelta(minutes=n)}], n + 1


class Last(Processor, by="key"):
    """The last value of each ten minutes, told when the watermark passes their end."""

    key: str = "key"
    last: State[int] = state()

    def plan(self, schema: Any) -> dict[str, Any]:
        return {"key": str, "end": datetime, "n": int}

    def process(self, batch: Batch, ctx: Any) -> None:
        self.last.put(batch, batch.to_columns()["n"])
        ends = [_end(at) for at in batch.to_columns()["at"]]
        ctx.timers.set(batch, ends)

    def timer(self, keys: Batch, time: datetime) -> Any:
        values = self.last.get(keys)
        return [{"key": key, "end": time, "n": n} for key, n in zip(keys.to_columns()["key"], values, strict=True)]


def _end(at: datetime) -> datetime:
    return at.replace(minute=at.minute - at.minute % 10, second=0) + timedelta(minutes=10)


def test_timers_fire_when_the_watermark_passes_and_at_the_end_of_input(flow: Flow, run: Callable[..., Outcome]) -> None:
    flow.time = {"column": "at", "lateness": 0}
    flow.source("readings", readings).step("last", Last).sink("keep", keep)
    assert run(flow).status == "finished"
    told = sorted((row["key"], row["end"].astimezone(UTC), row["n"]) for row in out)
    # the row of minute 10 comes before the watermark 10 and moves the timer of its key, `k0`, on to 20; so do 20 and 30
    assert told == [("k0", _minute(30), 28), *(("k1", _minute(m), m - 1) for m in (10, 20, 30))]


def _minute(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def test_timers_survive_a_stop(
    flow: Flow, run: Callable[..., Outcome], start: Callable[..., Any], tmp_path: Any
) -> None:
    flow.time = {"column": "at", "lateness": 0}
    flow.source("readings", readings, minutes=5).step("last", Last).sink("keep", keep)
    flow.checkpoint = {"interval": 10}
    running = start(flow)
    running.runner.command("stop", {})
    running.end()
    assert out == []
    assert run(flow).status == "finished"
    assert sorted((row["key"], row["n"]) for row in out) == [("k0", 4), ("k1", 3)]
