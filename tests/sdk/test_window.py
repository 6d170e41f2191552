"""Windows against a plain computation: whatever the cut, the order and the restarts."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Batch, ConfigError, Schema, Span, Window
from dataflare.drive import driver_for
from dataflare.memory import MemoryState, MemoryTimers
from dataflare.split import Resume
from dataflare.testing import Bench, processor_suite
from dataflare.testing.surroundings import context

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Total:
    key: int
    start: datetime
    end: datetime
    total: int


class Totals(Window[int]):
    """The sum of `n` of each key and window."""

    def add(self, state: int | None, batch: Batch) -> int:
        return (state or 0) + sum(batch["n"].to_pylist())

    def merge(self, a: int, b: int) -> int:
        return a + b

    def result(self, state: int, key: int, span: Span) -> list[Total]:
        return [Total(key, span.start, span.end, state)]


class Kept(Totals):
    """Late rows go to an output of their own."""

    def late(self, batch: Batch):
        return batch


def at(seconds):
    return START + timedelta(seconds=seconds)


def rows(*events):
    return [{"k": key, "t": at(second), "n": n} for key, second, n in events]


def found(results):
    return sorted((row["key"], _seconds(row["start"]), _seconds(row["end"]), row["total"]) for row in results.rows)


def _seconds(time):
    return (time - START).total_seconds()


events = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(-9, 9)), max_size=25)


def run(given, cuts, **config):
    parts, last = [], 0
    for cut in [*sorted(cuts), len(given)]:
        parts.append(given[last:cut])
        last = max(last, cut)
    snapshot = None
    for part in parts:
        with Bench(Totals, snapshot=snapshot, by="k", time="t", **config) as bench:
            if part:
                bench.feed(rows(*part))
            snapshot = bench.snapshot()
            assert not bench.results.rows
    with Bench(Totals, snapshot=snapshot, by="k", time="t", **config) as bench:
        bench.finish()
        return found(bench.results)


@settings(max_examples=25, deadline=None)
@given(events, st.lists(st.integers(0, 25), max_size=3), st.integers(1, 12), st.integers(1, 12))
def test_tumbling_and_sliding_windows_hold_what_falls_into_them(given, cuts, a, b):
    size, slide = max(a, b), min(a, b)
    expected = {}
    for key, second, n in given:
        for start in range(-size, 60):
            offset = int(START.timestamp()) + start
            if offset % slide == 0 and start <= second < start + size:
                spot = (key, start, start + size)
                expected[spot] = expected.get(spot, 0) + n
    wanted = sorted((*spot, total) for spot, total in expected.items())
    assert run(given, cuts, size=size, slide=slide) == wanted


@settings(max_examples=25, deadline=None)
@given(events, st.lists(st.integers(0, 25), max_size=3), st.integers(1, 12))
def test_sessions_end_where_nothing_came_for_the_gap(given, cuts, gap):
    wanted = []
    for key in range(3):
        sessions = []
        for second, n in sorted((second, n) for k, second, n in given if k == key):
            if sessions and second < sessions[-1][1] + gap:
                sessions[-1][1], sessions[-1][2] = second, sessions[-1][2] + n
            else:
                sessions.append([second, second, n])
        wanted += [(key, first, last + gap, total) for first, last, total in sessions]
    assert run(given, cuts, gap=gap) == sorted(wanted)


def test_a_window_gives_its_result_when_the_watermark_has_passed():
    with Bench(Totals, by="k", time="t", size=10, lateness=5) as bench:
        bench.feed(rows((1, 1, 1), (1, 9, 2), (1, 11, 4)))
        assert bench.watermark(at(14)).rows == []
        assert found(bench.watermark(at(15))) == [(1, 0, 10, 3)]
        assert found(bench.finish()) == [(1, 10, 20, 4)]


def test_rows_within_the_lateness_count_and_later_ones_are_refused():
    with Bench(Totals, by="k", time="t", size=10, lateness=5) as bench:
        bench.watermark(at(14))
        bench.feed(rows((1, 3, 1)))
        bench.watermark(at(15))
        late = bench.feed(rows((1, 4, 8), (1, 12, 16)))
        assert [(reject.row["n"], reject.code) for reject in late.rejects] == [(8, "window.late")]
        assert found(bench.finish()) == [(1, 10, 20, 16)]
        assert [row["total"] for row in bench.results.rows] == [1, 16]


def test_late_rows_may_have_an_output_of_their_own():
    with Bench(Kept, by="k", time="t", size=10) as bench:
        bench.watermark(at(10))
        made = bench.feed(rows((1, 4, 8)))
        assert [row["n"] for row in made.outputs["late"]] == [8]
        assert made.rejects == []


def test_a_row_without_a_time_is_refused():
    with Bench(Totals, by="k", time="t", size=10) as bench:
        made = bench.feed([{"k": 1, "t": None, "n": 1}, {"k": 1, "t": START, "n": 2}])
        assert [reject.code for reject in made.rejects] == ["window.no_time"]


def test_the_schema_is_known_before_the_start():
    given = {"": Schema({"k": int, "t": datetime, "n": int})}
    with Bench(Totals, by="k", time="t", size=10) as bench:
        planned = bench.driver.plan(given)
        assert planned["out"] == Schema({"key": int, "start": datetime, "end": datetime, "total": int})
        assert planned["late"] == given[""]


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"time": "t"}, "window.size"),
        ({"time": "t", "size": 10, "gap": 5}, "window.size"),
        ({"time": "t", "size": 10, "slide": 11}, "window.size"),
        ({"time": "n", "size": 10}, "window.time"),
        ({"time": "nothing", "size": 10}, "window.time"),
        ({"time": "t", "size": 10, "by": "nobody"}, "window.by"),
    ],
)
def test_mistakes_show_before_the_start(config, code):
    with Bench(Totals, **{"by": "k", **config}) as bench:
        with pytest.raises(ConfigError) as caught:
            bench.driver.plan({"": Schema({"k": int, "t": datetime, "n": int})})
        assert caught.value.code == code


TestTotals = processor_suite(
    Totals, [rows((1, 1, 1), (2, 2, 2)), rows((1, 3, 4)), rows((2, 30, 8))], by="k", time="t", size=10
)
TestSessions = processor_suite(
    Totals, [rows((1, 1, 1), (1, 30, 2)), rows((1, 15, 4)), rows((1, 16, 8))], by="k", time="t", gap=16
)


def test_a_window_that_was_closed_before_a_restart_stays_closed():
    driver = driver_for(Totals(by="k", time="t", size=10), context(state=MemoryState(), timers=MemoryTimers(("k",))))
    batch = Batch.of(rows((1, 4, 8), (1, 12, 16)))
    driver.plan({"": Schema(batch.schema)})
    driver.open(Resume(epoch=3, watermark=at(15)))
    (late,) = driver.process(batch).rejected
    assert (late.rows.to_pylist(), late.code) == ([0], "window.late")
    driver.close()
