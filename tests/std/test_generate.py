"""generate: the same rows again whatever the cuts, the demand or the position."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import ConfigError, Context, Demand, Resume, Split
from dataflare.drive import NO_POSITION, SourceDriver, driver_for
from dataflare_std.generate import Generate

WORDS = {
    "id": "sequence(5, 2)",
    "n": "int(-3, 3)",
    "x": "float(0, 1)",
    "c": "choice(a, b, c)",
    "t": "text(5)",
    "b": "bool",
    "at": "time(2026-05-01, 10ms)",
}


def opened(**config: Any) -> SourceDriver:
    driver = driver_for(Generate(**config), Context())
    assert isinstance(driver, SourceDriver)
    driver.plan()
    driver.open(Resume())
    return driver


def splits_of(driver: SourceDriver) -> list[Split]:
    return [split for found, _ in driver.splits(None, frozenset()) for split in found]


def rows_of(driver: SourceDriver, split: Split, position: Any = NO_POSITION, most: int = 1000) -> list[dict[str, Any]]:
    demand = Demand(most, 1 << 20, time.monotonic() + 60)
    return [
        row
        for reading in driver.read(split, position, demand, None)
        if reading.batch
        for row in reading.batch.to_rows()
    ]


def test_the_planned_schema_is_the_schema_of_the_rows() -> None:
    driver = opened(rows=3, columns=WORDS)
    planned = (driver.plan() or {})[""].arrow
    reading = next(driver.read(splits_of(driver)[0], NO_POSITION, Demand(10, 1 << 20, time.monotonic() + 60), None))
    assert reading.batch is not None
    assert reading.batch.schema.equals(planned)
    assert planned.field("at").type == pa.timestamp("us", "UTC")


def test_values_are_what_the_words_say() -> None:
    driver = opened(rows=500, columns=WORDS)
    rows = rows_of(driver, splits_of(driver)[0])
    assert [row["id"] for row in rows[:3]] == [5, 7, 9]
    assert {row["n"] for row in rows} == set(range(-3, 4))
    assert all(0 <= row["x"] < 1 for row in rows)
    assert {row["c"] for row in rows} == {"a", "b", "c"}
    assert {len(row["t"]) for row in rows} == {5}
    assert {row["b"] for row in rows} == {True, False}
    assert (rows[1]["at"] - rows[0]["at"]).total_seconds() == 0.01


def test_another_seed_and_another_column_give_other_values() -> None:
    columns = {"one": "int(0, 1000000)", "two": "int(0, 1000000)"}
    first, second = (opened(rows=50, columns=columns, seed=seed) for seed in (1, 2))
    rows = rows_of(first, splits_of(first)[0])
    assert [row["one"] for row in rows] != [row["two"] for row in rows]
    assert rows != rows_of(second, splits_of(second)[0])


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 60), parts=st.integers(1, 4), most=st.integers(1, 30), seed=st.integers(0, 3))
def test_parts_hold_each_row_once_and_resume_anywhere(rows: int, parts: int, most: int, seed: int) -> None:
    whole = opened(rows=rows, columns=WORDS, seed=seed)
    expected = rows_of(whole, splits_of(whole)[0])
    assert len(expected) == rows
    driver = opened(rows=rows, columns=WORDS, seed=seed, parts=parts)
    got = []
    for split in splits_of(driver):
        part = rows_of(driver, split, most=most)
        assert len(part) == split.size
        for position in {0, len(part) // 2, len(part)}:
            assert rows_of(driver, split, position, most) == part[position:]
        got += part
    assert sorted(got, key=lambda row: row["id"]) == expected


def test_only_the_columns_that_are_read_are_made() -> None:
    driver = opened(rows=5)
    demand = Demand(10, 1 << 20, time.monotonic() + 60)
    split = splits_of(driver)[0]
    some = next(driver.read(split, NO_POSITION, demand, frozenset({"id"})))
    none = next(driver.read(split, NO_POSITION, demand, frozenset()))
    assert some.batch is not None
    assert some.batch.columns == ["id"]
    assert none.batch is not None
    assert (none.batch.columns, len(none.batch)) == ([], 5)


def test_without_rows_it_never_ends() -> None:
    driver = opened()
    split = splits_of(driver)[0]
    assert split.size is None
    readings = driver.read(split, 10**12, Demand(3, 1 << 20, time.monotonic() + 60), None)
    assert [next(readings).position for _ in range(3)] == [10**12 + 3, 10**12 + 6, 10**12 + 9]


def test_a_rate_holds_rows_back_and_says_idle_in_time() -> None:
    driver = opened(rate="1/h")
    demand = Demand(10, 1 << 20, time.monotonic())
    readings = driver.read(splits_of(driver)[0], NO_POSITION, demand, None)
    first, second = next(readings), next(readings)
    assert first.batch is not None
    assert len(first.batch) == 1
    assert second.idle


@pytest.mark.parametrize(
    "word", ["nope", "int", "int(3, 1)", "int(a, b)", "text(0)", "sequence(1, 2, 3)", "time(x)", "choice()", "bool(1)"]
)
def test_words_that_are_not_understood_are_refused_with_their_place(word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(columns={"id": "sequence", "odd": word})
    problem = caught.value.problems[0]
    assert (problem.code, problem.pointer) == ("generate.column", "/columns/odd")


@pytest.mark.parametrize("rate", ["120/m", "2/s", 2, 2.0])
def test_a_rate_is_words_or_a_number_of_rows_a_second(rate: float | str) -> None:
    assert Generate(rate=rate).per_second == 2


@pytest.mark.parametrize("rate", ["fast", "0/s", "10", "5/x", 0, -1.5])
def test_rates_that_are_none_are_refused(rate: float | str) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(rate=rate)
    assert caught.value.code == "generate.rate"
