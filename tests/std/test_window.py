"""Windows against a plain reference: whatever the batches, lanes and restarts, the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from windows import AGGREGATES, SECOND, Reference, moment

from dataflare import Batch, ConfigError, Schema
from dataflare.drive import ProcessorDriver
from dataflare.errors import StateError
from dataflare.testing import Bench, context
from dataflare_std.window.step import Window

SCHEMA = pa.schema(
    {"k": pa.string(), "at": pa.timestamp("us", "UTC"), "n": pa.int64(), "x": pa.float64(), "s": pa.string()}
)
ALL = {name: text for name, (text, _) in AGGREGATES.items()}
T = datetime(2026, 1, 1, tzinfo=UTC)


def batch_of(rows: list[dict[str, Any]]) -> Batch:
    return Batch.of([{**row, "at": moment(row["at"])} for row in rows], SCHEMA)


def same(rows: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(str(sorted(row.items(), key=lambda item: item[0])) for row in map(_plain, rows))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Moments without the kind of their zone, and one zero."""
    return {
        key: value.timestamp() if isinstance(value, datetime) else value + 0.0 if isinstance(value, float) else value
        for key, value in row.items()
    }


ROWS = st.fixed_dictionaries(
    {
        "k": st.sampled_from(["a", "b", None]),
        "at": st.integers(-90, 90).map(lambda tenths: tenths * SECOND // 10) | st.integers(-9 * SECOND, 9 * SECOND),
        "n": st.none() | st.integers(-(2**40), 2**40),
        "x": st.none() | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300),
        "s": st.none() | st.text("xyz", max_size=2),
    }
)
STEPS = st.lists(
    st.one_of(
        st.lists(ROWS, min_size=1, max_size=12),
        st.integers(-10 * SECOND, 10 * SECOND),
        st.just("restart"),
        st.just("barrier"),
    ),
    max_size=10,
)
ROW = {"k": "a", "at": 0, "n": None, "x": None, "s": None}
SIZES = st.sampled_from([(2, 2), (3, 1), (5, 2), (4, 3), (1, 1)])


class Lanes:
    """A window step in several lanes, each of which owns some keys."""

    def __init__(self, count: int, **config: Any) -> None:
        self.config = {**config, "aggregates": ALL, "time": "at", "by": "k"}
        self.stack = ExitStack()
        self.benches = [self._bench() for _ in range(count)]

    def _bench(self, **more: Any) -> Bench:
        return self.stack.enter_context(Bench(Window, schemas={"": SCHEMA}, **more, **self.config))

    def feed(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The refused rows."""
        refused = []
        for number, bench in enumerate(self.benches):
            mine = [row for row in rows if "ab".find(row["k"] or "a") % len(self.benches) == number]
            if mine:
                refused += [each.row for each in bench.feed(batch_of(mine)).rejects]
        return refused

    def each(self, call: str, *given: Any) -> list[dict[str, Any]]:
        return [row for bench in self.benches for row in getattr(bench, call)(*given).rows]

    def restart(self) -> None:
        self.benches = [self._bench(snapshot=bench.snapshot()) for bench in self.benches]


def check(steps: list[Any], reference: Reference, lanes: Lanes) -> None:
    with lanes.stack:
        for step in steps:
            if isinstance(step, list):
                late = [{**row, "at": moment(row["at"])} for row in step if not reference.add(row)]
                assert same(lanes.feed(step)) == same(late)
            elif step == "restart":
                lanes.restart()
            elif step == "barrier":
                for bench in lanes.benches:
                    bench.snapshot()
            elif moment(step) > (lanes.benches[0].time or datetime.min.replace(tzinfo=UTC)):
                assert same(lanes.each("watermark", moment(step))) == same(reference.watermark(step))
        assert same(lanes.each("finish")) == same(reference.finish())
        for bench in lanes.benches:
            held = bench.snapshot().state
            open = [value["open"] for name in held if name.startswith("windows") for _, value, _ in held[name]]
            assert not any(open)


@given(steps=STEPS, sizes=SIZES, lateness=st.sampled_from([0, 1]), lanes=st.sampled_from([1, 2]))
@example(
    steps=[[{"k": "a", "at": at, "n": None, "x": None, "s": None} for at in (0, -1_700_000)], "restart", 0, "restart"],
    sizes=(3, 1),
    lateness=0,
    lanes=1,
)
@example(
    steps=[[ROW], "restart", 0, [{**ROW, "at": -100_000}]],
    sizes=(3, 1),
    lateness=0,
    lanes=1,
)
@example(
    steps=[[ROW], "barrier", 0, "restart", [{**ROW, "at": -100_000}]],
    sizes=(3, 1),
    lateness=0,
    lanes=1,
)
@settings(max_examples=60, deadline=None)
def test_tumbling_and_sliding_windows_are_those_of_the_reference(
    steps: list[Any], sizes: tuple[int, int], lateness: int, lanes: int
) -> None:
    size, slide = sizes
    reference = Reference(size * SECOND, slide * SECOND, lateness=lateness * SECOND)
    check(steps, reference, Lanes(lanes, size=size, slide=slide, lateness=lateness))


@given(steps=STEPS, gap=st.sampled_from([0.1, 1, 3]), lateness=st.sampled_from([0, 1]), lanes=st.sampled_from([1, 2]))
@settings(max_examples=60, deadline=None)
def test_sessions_are_those_of_the_reference(steps: list[Any], gap: float, lateness: int, lanes: int) -> None:
    reference = Reference(gap=round(gap * SECOND), lateness=lateness * SECOND)
    check(steps, reference, Lanes(lanes, gap=gap, lateness=lateness))


@given(rows=st.lists(ROWS, min_size=1, max_size=40), cuts=st.lists(st.integers(0, 40), max_size=5), data=st.data())
@settings(max_examples=30, deadline=None)
def test_neither_order_nor_batches_change_a_bit(rows: list[dict[str, Any]], cuts: list[int], data: Any) -> None:
    shape = data.draw(st.sampled_from([{"size": 3, "slide": 1}, {"size": 2}, {"gap": 1}]))

    def results(rows: list[dict[str, Any]], cuts: list[int]) -> list[str]:
        with Bench(Window, schemas={"": SCHEMA}, time="at", by="k", aggregates=ALL, **shape) as bench:
            ends = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
            for start, end in pairwise(ends):
                bench.feed(batch_of(rows[start:end]))
                bench.snapshot()
            return same(bench.finish().rows)

    assert results(rows, []) == results(data.draw(st.permutations(rows)), cuts)


# --- single things --------------------------------------------------------------------------------------


@contextmanager
def window(rows: Any, outputs: Iterable[str] = (), **config: Any) -> Iterator[Bench]:
    given = {"time": "at", "size": "1m", "by": "k", "aggregates": {"n": "count(*)"}, **config}
    with Bench(Window, ctx=context(outputs=frozenset(outputs)), **given) as bench:
        bench.feed(rows)
        yield bench


def at(*seconds: float) -> dict[str, Any]:
    return {"k": ["a"] * len(seconds), "at": [T + timedelta(seconds=each) for each in seconds]}


def test_the_start_belongs_to_a_window_and_the_end_to_the_next() -> None:
    with window(at(0, 59.999999, 60)) as bench:
        assert [row["n"] for row in bench.watermark(T + timedelta(seconds=60)).rows] == [2]
        assert bench.watermark(T + timedelta(seconds=119.999999)).rows == []
        (row,) = bench.watermark(T + timedelta(seconds=120)).rows
        assert (row["window_start"], row["window_end"]) == (T + timedelta(minutes=1), T + timedelta(minutes=2))


def test_a_window_waits_for_rows_that_are_late_and_no_longer() -> None:
    with window(at(0), lateness="10s") as bench:
        assert bench.watermark(T + timedelta(seconds=69)).rows == []
        assert bench.feed(at(59)).rejects == []
        assert [row["n"] for row in bench.watermark(T + timedelta(seconds=70)).rows] == [2]
        assert [each.code for each in bench.feed(at(59, 60)).rejects] == ["window.late"]


def test_late_rows_leave_as_they_came_where_somebody_reads_them() -> None:
    with window({**at(0), "note": ["x"]}, outputs=["late"]) as bench:
        bench.watermark(T + timedelta(minutes=1))
        late = {**at(60, 3, 4), "note": ["in time", "late", "later"]}
        made = bench.feed(late)
        assert made.rejects == []
        assert [row["note"] for row in made.outputs["late"]] == ["late", "later"]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ms", "Europe/Paris"), pa.timestamp("ns", "UTC")])
def test_every_kind_of_time_keeps_its_zone(kind: pa.DataType) -> None:
    times = pa.array([-1, 0, 59, 60], pa.timestamp("s")).cast(pa.timestamp(kind.unit)).cast(kind)
    with window(pa.record_batch({"k": ["a"] * 4, "at": times})) as bench:
        ((_, made),) = bench.finish().batches
        assert made.schema.field("window_start").type == pa.timestamp("us", kind.tz)
        assert made["window_start"].cast(pa.int64()).to_pylist() == [-60 * SECOND, 0, 60 * SECOND]


def test_a_date_is_a_time() -> None:
    days = {"k": ["a", "a", "a"], "at": [date(1969, 12, 31), date(2026, 1, 1), None]}
    with window(days, size="1d") as bench:
        assert [each.code for each in bench.results.rejects] == ["window.no_time"]
        assert [row["window_start"] for row in bench.finish().rows] == [datetime(1969, 12, 31), datetime(2026, 1, 1)]


def test_times_of_no_calendar_are_refused() -> None:
    times = pa.array([0, 10**12, -(10**12), None], pa.timestamp("s"))
    with window(at(0)) as bench:
        made = bench.driver.process(Batch(pa.record_batch({"k": ["a"] * 4, "at": times})))
        assert [(each.code, each.rows.to_pylist()) for each in made.rejected] == [("window.no_time", [1, 2, 3])]
        assert [row["n"] for row in bench.finish().rows] == [1, 1]


def test_without_a_key_all_rows_are_in_one_window() -> None:
    rows = {"k": ["a", "b"], "at": [T, T]}
    with window(rows, by=()) as bench:
        snapshot = bench.snapshot()
    schema = {"": batch_of([]).schema}
    with Bench(Window, snapshot=snapshot, schemas=schema, time="at", size="1m", aggregates={"n": "count(*)"}) as again:
        assert again.finish().rows == [{"window_start": T, "window_end": T + timedelta(minutes=1), "n": 2}]


def test_a_window_that_the_end_of_the_input_closed_is_not_given_again() -> None:
    with window(at(0, 61), lateness="5s") as bench:
        bench.watermark(T + timedelta(seconds=61))
        assert len(bench.finish().rows) == 2
        snapshot = bench.snapshot()
    config = {"time": "at", "size": "1m", "by": "k", "aggregates": {"n": "count(*)"}, "lateness": "5s"}
    schema = {"": Batch.of(at(0)).schema}
    with Bench(Window, snapshot=snapshot, schemas=schema, **config) as again:
        assert [each.code for each in again.feed(at(30, 119, 120)).rejects] == ["window.late"] * 2
        assert [row["n"] for row in again.finish().rows] == [1]


def test_nothing_is_kept_of_a_window_that_no_row_can_be_late_for() -> None:
    config = {"time": "at", "size": "1m", "by": "k", "aggregates": {"n": "count(*)"}}
    schemas = {"": Batch.of(at(0)).schema}
    with window(at(0, 90)) as bench:
        bench.finish()
        ended = bench.snapshot()
    with Bench(Window, snapshot=ended, schemas=schemas, **config) as later:
        later.feed(at(9000))
        later.watermark(T + timedelta(seconds=9000))
        kept = later.snapshot()
    with Bench(Window, snapshot=kept, schemas=schemas, **config) as last:
        last.watermark(T + timedelta(seconds=9060))
        held = last.snapshot().state
    assert {name for name in held if held[name]} == {"form"}


def test_only_the_stretch_of_a_key_that_changed_is_written_again() -> None:
    with window(at(0, 60 * 64, 60 * 128)) as bench:
        bench.snapshot()
        bench.feed(at(60 * 64 + 1))
        put, written = bench.state.put, []
        bench.state.put = lambda name, *rest: (written.append(name), put(name, *rest))  # type: ignore[method-assign]
        bench.snapshot()
        assert written == [f"windows/{_stretch(60 * 64)}", "form"]


def _stretch(seconds: int) -> int:
    return int((T.timestamp() + seconds) // (60 * 64))


def test_exact_kinds_stay_exact() -> None:
    rows = {
        **at(1, 2, 3),
        "d": [Decimal("0.10"), Decimal("0.20"), None],
        "big": [2**62, 2**62, -(2**62)],
        "gap": [timedelta(seconds=1), timedelta(seconds=2), None],
        "yes": [True, False, True],
    }
    sums = {"d": "sum(d)", "big": "sum(big)", "gap": "sum(gap)", "yes": "sum(yes)", "mean": "avg(gap)"}
    with window(rows, aggregates=sums) as bench:
        (row,) = bench.finish().rows
    told = {key: row[key] for key in sums}
    seconds = timedelta(seconds=3), timedelta(seconds=1.5)
    assert told == {"d": Decimal("0.30"), "big": 2**62, "gap": seconds[0], "yes": 2, "mean": seconds[1]}


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([1e308, 1e308, -1e308], 1e308),
        ([0.1] * 10, 1.0),
        ([float("inf"), 1.0], float("inf")),
        ([float("inf"), float("-inf")], None),
        ([1e308, 1e308], float("inf")),
        ([5e-324, 5e-324], 1e-323),
        ([None, None], "null"),
    ],
)
def test_sums_of_floats_are_rounded_once(values: list[Any], total: Any) -> None:
    with window({**at(*[1] * len(values)), "x": pa.array(values, pa.float64())}, aggregates={"t": "sum(x)"}) as bench:
        bench.snapshot()
        (row,) = bench.finish().rows
    if total is None:
        assert row["t"] != row["t"]
    else:
        assert row["t"] == (None if total == "null" else total)


def test_conditions_inside_of_aggregates() -> None:
    rows = {**at(1, 2, 3), "n": [1, 2, 3]}
    texts = {
        "filtered": "sum(n) filter (where n > 1)",
        "cased": "sum(case when n > 1 then n else 0 end)",
        "some": "count(*) filter (where n > 1)",
        "spread": "max(n) - min(n)",
        "rounded": "round(avg(n * 1.5), 1)",
        "mean": "mean(n)",
        "none": "coalesce(sum(n) filter (where n > 9), 0)",
    }
    with window(rows, aggregates=texts) as bench:
        (row,) = bench.finish().rows
    told = {key: row[key] for key in texts}
    assert told == {"filtered": 5, "cased": 5, "some": 2, "spread": 2, "rounded": 3.0, "mean": 2.0, "none": 0}


def test_a_row_that_cannot_be_computed_is_refused_alone() -> None:
    rows = {**at(1, 2, 3), "s": ["1", "x", "3"]}
    with window(rows, aggregates={"t": "sum(cast(s as bigint))"}) as bench:
        assert [(each.code, each.row["s"]) for each in bench.results.rejects] == [("step.expression", "x")]
        assert [row["t"] for row in bench.finish().rows] == [4]


def test_state_of_other_sizes_is_not_taken() -> None:
    with window(at(1)) as bench:
        snapshot = bench.snapshot()
    config = {"time": "at", "size": "2m", "by": "k", "aggregates": {"n": "count(*)"}}
    schema = {"": Batch.of(at(0)).schema}
    again = Bench(Window, snapshot=snapshot, schemas=schema, **config)
    with again, pytest.raises(StateError, match="other sizes"):
        again.feed(at(1))


# --- before the start -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "code", "pointer", "says"),
    [
        ({"time": "att"}, "plan.unknown_column", "/time", "write `at`"),
        ({"time": "n"}, "window.time", "/time", "it is int64"),
        ({"by": ["k", "m"]}, "plan.unknown_column", "/by", "no column `m`"),
        ({"size": None}, "window.size", "/size", "either `size`"),
        ({"gap": 5}, "window.size", "/size", "either `size`"),
        ({"size": 0}, "window.size", "/size", "a microsecond"),
        ({"slide": 61}, "window.size", "/slide", "at most `size`"),
        ({"aggregates": {"t": "summ(n)"}}, "window.aggregate", "/aggregates/t", "write `sum`"),
        ({"aggregates": {"t": "sum(m)"}}, "plan.unknown_column", "/aggregates/t", "no column `m`"),
        ({"aggregates": {"t": "sum(s)"}}, "plan.expression_type", "/aggregates/t", "takes numbers"),
        ({"aggregates": {"t": "sum(n) + max(s)"}}, "plan.expression_type", "/aggregates/t", "do"),
        ({"aggregates": {"t": "n"}}, "window.aggregate", "/aggregates/t", "outside of a function"),
        ({"aggregates": {"t": "sum(n) + n"}}, "window.aggregate", "/aggregates/t", "outside of a function"),
        ({"aggregates": {"t": "sum(sum(n))"}}, "window.aggregate", "/aggregates/t", "inside of a function"),
        ({"aggregates": {"t": "sum(n) over (partition by k)"}}, "window.aggregate", "/aggregates/t", ""),
        ({"aggregates": {"t": "array_agg(n)"}}, "window.aggregate", "/aggregates/t", "cannot be merged"),
        ({"aggregates": {"t": "sum(n"}}, "window.aggregate", "/aggregates/t", "not an aggregate"),
        ({"aggregates": {"a/b": "sum("}}, "window.aggregate", "/aggregates/a~1b", "not an aggregate"),
        ({"aggregates": {"k": "sum(n)"}}, "plan.duplicate_column", "/aggregates/k", "two columns"),
        ({"start": "end", "end": "end"}, "plan.duplicate_column", "/end", "two columns"),
    ],
)
def test_mistakes_are_told_at_their_place(changed: dict[str, Any], code: str, pointer: str, says: str) -> None:
    from dataflare.testing.surroundings import drive

    config = {"time": "at", "size": 60, "by": "k", "aggregates": {"t": "count(*)"}, **changed}
    driver = drive(Window, ProcessorDriver, context(), config)
    with pytest.raises(ConfigError) as caught:
        driver.plan({"": Schema(SCHEMA)})
    problem = caught.value.problems[0]
    assert (problem.code, problem.pointer) == (code, pointer)
    assert says in str(problem)


def test_all_mistakes_are_told_at_once() -> None:
    from dataflare.testing.surroundings import drive

    config = {"time": "n", "size": 0, "by": "m", "aggregates": {"t": "n", "u": "summ(n)"}}
    with pytest.raises(ConfigError) as caught:
        drive(Window, ProcessorDriver, context(), config).plan({"": Schema(SCHEMA)})
    codes = ["window.size", "window.time", "plan.unknown_column", "window.aggregate", "window.aggregate"]
    assert [each.code for each in caught.value.problems] == codes
