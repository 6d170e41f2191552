"""Two streams joined, against nested loops: whatever the interleaving, batches, lanes and restarts, the same pairs."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import SECOND, moment

from dataflare import Batch, ConfigError, Schema
from dataflare.drive import ProcessorDriver
from dataflare.errors import StateError
from dataflare.testing import Bench, context
from dataflare.testing.surroundings import drive
from dataflare_std.join.step import Join

LEFT = pa.schema({"k": pa.string(), "at": pa.timestamp("us", "UTC"), "n": pa.int64()})
RIGHT = pa.schema({"k": pa.large_string(), "at": pa.timestamp("ms", "UTC"), "tags": pa.list_(pa.string())})
SCHEMAS = {"left": LEFT, "right": RIGHT}
Row = dict[str, Any]

ROWS = st.fixed_dictionaries({"k": st.sampled_from(["a", "b", None]), "at": st.integers(-40, 40)})
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["left", "right"]), st.lists(ROWS, min_size=1, max_size=8)),
        st.integers(-45, 45),
        st.just("restart"),
        st.just("barrier"),
    ),
    max_size=14,
)


class Lanes:
    """A join in several lanes, each of which owns some keys."""

    def __init__(self, count: int, **config: Any) -> None:
        self.config, self.stack, self.number = config, ExitStack(), 0
        self.benches = [self._bench() for _ in range(count)]

    def _bench(self, **more: Any) -> Bench:
        return self.stack.enter_context(Bench(Join, schemas=SCHEMAS, on="k", time="at", **more, **self.config))

    def feed(self, side: str, rows: list[Row]) -> tuple[list[Row], list[Row]]:
        """What came out, and the refused rows."""
        made, refused = [], []
        for number, bench in enumerate(self.benches):
            mine = [row for row in rows if "ab".find(row["k"] or "a") % len(self.benches) == number]
            if mine:
                columns = [{**row, "at": moment(row["at"] * SECOND)} for row in mine]
                answer = bench.feed(Batch.of(columns, SCHEMAS[side]), side)
                made += answer.rows
                refused += [each.row for each in answer.rejects]
        return made, refused

    def restart(self) -> None:
        self.benches = [self._bench(snapshot=bench.snapshot()) for bench in self.benches]


def pair(left: Row, right: Row | None) -> Row:
    at = None if right is None else moment(right["at"] * SECOND)
    tags = None if right is None else right["tags"]
    return {"k": left["k"], "at": moment(left["at"] * SECOND), "n": left["n"], "right_at": at, "tags": tags}


def counted(rows: list[Row]) -> Counter[str]:
    return Counter(
        str([value.timestamp() if hasattr(value, "timestamp") else value for value in row.values()]) for row in rows
    )


@given(
    steps=STEPS,
    bounds=st.sampled_from([(0, 0), (3, 3), (0, 9), (20, 1)]),
    lateness=st.sampled_from([0, 4]),
    how=st.sampled_from(["inner", "left"]),
    lanes=st.sampled_from([1, 2]),
)
@settings(max_examples=120, deadline=None)
def test_the_pairs_are_those_of_nested_loops(
    steps: list[Any], bounds: tuple[int, int], lateness: int, how: str, lanes: int
) -> None:
    before, after = bounds
    join = Lanes(lanes, how=how, before=before, after=after, lateness=lateness)
    kept: dict[str, list[Row]] = {"left": [], "right": []}
    given, mark = [], -1000
    with join.stack:
        for step in steps:
            if isinstance(step, tuple):
                side, rows = step
                for row in rows:
                    join.number += 1
                    row |= {"n": join.number, "tags": [str(join.number)]}
                made, refused = join.feed(side, [{key: row[key] for key in SCHEMAS[side].names} for row in rows])
                given += made
                late = [row for row in rows if row["at"] < mark - lateness]
                assert len(refused) == len(late)
                kept[side] += [row for row in rows if row not in late]
            elif step == "restart":
                join.restart()
            elif step == "barrier":
                for bench in join.benches:
                    bench.snapshot()
            elif step > mark:
                mark = step
                for bench in join.benches:
                    given += bench.watermark(moment(mark * SECOND)).rows
        for bench in join.benches:
            given += bench.finish().rows
            assert dict(bench.snapshot().state).get("held", []) == [] or not bench.state.items("held")
    expected = []
    for left in kept["left"]:
        near = [
            right
            for right in kept["right"]
            if left["k"] is not None and left["k"] == right["k"] and -before <= right["at"] - left["at"] <= after
        ]
        expected += [pair(left, right) for right in near] or ([pair(left, None)] if how == "left" else [])
    assert counted(given) == counted(expected)


def test_what_can_find_no_partner_any_more_is_forgotten() -> None:
    with Bench(Join, schemas=SCHEMAS, on="k", time="at", within="10s") as bench:
        bench.feed(Batch.of([{"k": "a", "at": moment(0), "n": 1}], LEFT), "left")
        bench.feed(Batch.of([{"k": "b", "at": moment(0), "tags": ["x"]}], RIGHT), "right")
        bench.snapshot()
        assert len(bench.state.items("held")) == 2
        bench.watermark(moment(10 * SECOND))
        bench.snapshot()
        assert len(bench.state.items("held")) == 2
        bench.watermark(moment(12 * SECOND))
        bench.snapshot()
        assert bench.state.items("held") == {}


def test_columns_are_chosen_and_renamed() -> None:
    driver = drive(Join, ProcessorDriver, context(), {"on": "k", "time": "at", "within": 1, "columns": "at"})
    assert driver.plan({side: Schema(schema) for side, schema in SCHEMAS.items()})["out"].names == [
        "k",
        "at",
        "n",
        "right_at",
    ]


def test_state_of_another_join_is_not_taken() -> None:
    with Bench(Join, schemas=SCHEMAS, on="k", time="at", within="10s") as bench:
        bench.feed(Batch.of([{"k": "a", "at": moment(0), "n": 1}], LEFT), "left")
        snapshot = bench.snapshot()
    again = Bench(Join, snapshot=snapshot, schemas=SCHEMAS, on="k", time="at", within="11s")
    with again, pytest.raises(StateError, match="another join"):
        again.feed(Batch.of([{"k": "a", "at": moment(0), "n": 1}], LEFT), "left")


@pytest.mark.parametrize(
    ("changed", "code", "pointer", "says"),
    [
        ({"on": ["k", "m"]}, "plan.unknown_column", "/on", "no column `m`"),
        ({"on": {"k": "m"}}, "join.keys", "/on", "both have"),
        ({"on": "n"}, "plan.unknown_column", "/on", "no column `n`"),
        ({"time": None}, "join.time", "/time", "left_time"),
        ({"time": "k"}, "join.time", "/time", "not a time"),
        ({"right_time": "att"}, "plan.unknown_column", "/right_time", "write `at`"),
        ({"within": None}, "join.within", "/within", "how far apart"),
        ({"columns": "tag"}, "plan.unknown_column", "/columns", "write `tags`"),
        ({"prefix": ""}, "plan.duplicate_column", "/prefix", "another `prefix`"),
        ({"refresh": "1m"}, "join.table", "/refresh", "no `table`"),
    ],
)
def test_mistakes_are_told_at_their_place(changed: dict[str, Any], code: str, pointer: str, says: str) -> None:
    driver = drive(Join, ProcessorDriver, context(), {"on": "k", "time": "at", "within": "1d", **changed})
    schemas = {side: Schema(schema) for side, schema in SCHEMAS.items()}
    with pytest.raises(ConfigError) as caught:
        driver.plan(schemas)
    problem = caught.value.problems[0]
    assert (problem.code, problem.pointer) == (code, pointer)
    assert says in str(problem)


def test_one_stream_alone_is_no_join() -> None:
    driver = drive(Join, ProcessorDriver, context(), {"on": "k", "time": "at", "within": 1})
    with pytest.raises(ConfigError, match="two streams are joined"):
        driver.plan({"": Schema(LEFT)})
