"""dedupe, validate and union through their drivers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Batch, ConfigError, Context, Resume, Schema
from dataflare.context import FixedClock
from dataflare.drive import ProcessorDriver, driver_for
from dataflare.memory import MemoryState
from dataflare_std.dedupe import Dedupe
from dataflare_std.union import Union
from dataflare_std.validate import Validate

NAN = float("nan")


def opened(step: Any, ctx: Context | None = None, schema: Any = None) -> ProcessorDriver:
    driver = driver_for(step, ctx or Context())
    assert isinstance(driver, ProcessorDriver)
    if schema is not None:
        driver.plan({"": Schema(schema)})
    driver.open(Resume())
    return driver


def keep(driver: ProcessorDriver, rows: Any) -> list[dict[str, Any]]:
    """The rows that one call lets through; its state takes effect."""
    state: Any = driver.ctx.state
    done = driver.process(Batch.of(rows))
    state.apply()
    return [row for _, batch in done.outputs for row in batch.to_rows()]


def clocked() -> tuple[Context, FixedClock]:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    return Context(state=MemoryState(clock), clock=clock), clock


def test_the_first_row_of_a_key_stays() -> None:
    ctx, _ = clocked()
    driver = opened(Dedupe(key=["a", "b"]), ctx)
    assert keep(driver, {"a": [1, 1, 1, 2], "b": ["x", "y", "x", "x"], "n": [1, 2, 3, 4]}) == [
        {"a": 1, "b": "x", "n": 1},
        {"a": 1, "b": "y", "n": 2},
        {"a": 2, "b": "x", "n": 4},
    ]
    assert [row["n"] for row in keep(driver, {"a": [2, 3], "b": ["x", "x"], "n": [5, 6]})] == [6]


def test_null_nan_and_the_two_zeros_are_one_key_each() -> None:
    ctx, _ = clocked()
    driver = opened(Dedupe(key="k"), ctx)
    assert len(keep(driver, {"k": pa.array([0.0, -0.0, NAN, NAN, None, None, 1.0])})) == 4
    assert keep(driver, {"k": pa.array([-0.0, NAN, None])}) == []


def test_a_key_counts_as_new_after_its_time() -> None:
    ctx, clock = clocked()
    driver = opened(Dedupe(key="k", ttl="1m"), ctx)
    assert len(keep(driver, {"k": [1]})) == 1
    clock.time += timedelta(seconds=50)
    assert keep(driver, {"k": [1]}) == []
    clock.time += timedelta(seconds=20)
    assert len(keep(driver, {"k": [1]})) == 1


def test_a_failed_call_leaves_the_key_unseen() -> None:
    ctx, _ = clocked()
    driver = opened(Dedupe(key="k"), ctx)
    state: Any = ctx.state
    driver.process(Batch.of({"k": [1]}))
    state.discard()
    assert len(keep(driver, {"k": [1]})) == 1


def test_a_key_that_is_no_column_names_the_nearest() -> None:
    ctx, _ = clocked()
    with pytest.raises(ConfigError) as caught:
        opened(Dedupe(key=["idd"]), ctx, {"id": int})
    assert caught.value.problems[0].fix == "write `id`"


Key = tuple[int, str | None]
BATCHES = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["a", "b", None])), max_size=12), st.booleans()),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(batches=BATCHES)
def test_it_is_first_occurrence_over_all_batches_and_restarts(batches: list[tuple[list[Key], bool]]) -> None:
    ctx, _ = clocked()
    driver = opened(Dedupe(key=["n", "s"]), ctx)
    got: list[Key] = []
    expected: dict[Key, None] = {}
    for rows, restarts in batches:
        if restarts:
            held: Any = ctx.state
            ctx, _ = clocked()
            state: Any = ctx.state
            state.load(held.dump())
            driver = opened(Dedupe(key=["n", "s"]), ctx)
        columns = {"n": pa.array([n for n, _ in rows], pa.int64()), "s": pa.array([s for _, s in rows], pa.string())}
        got += [(row["n"], row["s"]) for row in keep(driver, columns)]
        expected |= dict.fromkeys(rows)
    assert got == list(expected)


def test_rows_that_break_a_rule_are_rejected_with_the_first_rule() -> None:
    rules = {"cold": "temperature > -50", "hot": "temperature < 60", "named": "device <> ''"}
    rows = {"temperature": [20.0, 99.0, None, 30.0, 10.0], "device": ["a", "", "c", "", None]}
    done = opened(Validate(rules=rules)).process(Batch.of(rows))
    assert [(each.code, each.rows.to_pylist()) for each in done.rejected] == [
        ("cold", [2]),
        ("hot", [1]),
        ("named", [3, 4]),
    ]
    assert done.outputs[0][1].to_rows() == [{"temperature": 20.0, "device": "a"}]
    assert "temperature < 60" in done.rejected[1].message


def test_a_rule_that_cannot_be_computed_is_broken() -> None:
    done = opened(Validate(rules={"number": "cast(text as int) > 0"})).process(Batch.of({"text": ["1", "x", "2"]}))
    assert [(each.code, each.rows.to_pylist()) for each in done.rejected] == [("number", [1])]


def test_rules_are_typed_before_the_start_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        opened(Validate(rules={"a": "n", "b": "nosuch > 1", "c": "n > 0"}), schema={"n": int})
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [
        ("plan.expression_type", "/rules/a"),
        ("plan.unknown_column", "/rules/b"),
    ]


def test_rules_say_what_they_read() -> None:
    step = Validate(rules={"a": "n > 0", "b": "m > 0"})
    assert step.needs(frozenset({"x"}), Schema({"n": int, "m": int, "x": int})) == frozenset({"n", "m", "x"})


def test_a_union_passes_rows_on() -> None:
    driver = opened(Union(), schema={"n": int})
    assert driver.process(Batch.of({"n": [1, 2]})).outputs[0][1].to_rows() == [{"n": 1}, {"n": 2}]
