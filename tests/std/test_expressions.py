"""filter, compute and select through their drivers: typing, null rules, fusing, batch cuts, rejects."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Batch, ConfigError, Context, Processor, Resume, Schema
from dataflare.drive import Processed, ProcessorDriver, driver_for
from dataflare_std.expressions import Compute, Filter, Select

READINGS = pa.record_batch(
    {
        "id": pa.array([1, 2, 3, 4]),
        "device": pa.array(["a", "b", None, "d"]),
        "temperature": pa.array([10.0, 25.0, None, 30.0]),
        "tags": pa.array([["x"], [], None, ["y", "z"]], pa.list_(pa.string())),
        "site": pa.array([{"name": "n"}, None, {"name": "m"}, {"name": None}], pa.struct([("name", pa.string())])),
    }
)


def planned(step: Processor, schema: Any = READINGS.schema) -> Schema:
    driver = driver_for(step, Context())
    assert isinstance(driver, ProcessorDriver)
    return driver.plan({"": Schema(schema)})["out"]


def run(step: Processor, rows: Any = READINGS) -> tuple[pa.RecordBatch, Processed]:
    driver: Any = driver_for(step, Context())
    batch = rows if isinstance(rows, Batch) else Batch(rows)
    schema = driver.plan({"": Schema(batch.schema)})["out"]
    driver.open(Resume())
    done = driver.process(batch)
    driver.close()
    made = done.outputs[0][1].arrow if done.outputs else schema.arrow.empty_table().to_batches()
    assert not done.outputs or made.schema.equals(schema.arrow)
    return made, done


def refused(step: Processor, schema: Any = READINGS.schema) -> list[Any]:
    with pytest.raises(ConfigError) as caught:
        planned(step, schema)
    return list(caught.value.problems)


def test_a_filter_keeps_true_rows_and_drops_false_and_null_ones() -> None:
    made, done = run(Filter(where="temperature > 20"))
    assert made["id"].to_pylist() == [2, 4]
    assert done.outputs[0][1].origin.to_pylist() == [1, 3]
    assert not done.rejected


def test_computed_columns_see_the_row_as_it_came_in() -> None:
    made, _ = run(Compute(columns={"id": "id * 10", "before": "id + 1"}))
    assert made["id"].to_pylist() == [10, 20, 30, 40]
    assert made["before"].to_pylist() == [2, 3, 4, 5]
    assert made.schema.names[:2] == ["id", "device"]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"columns": ["temperature", "id"]}, ["temperature", "id"]),
        ({"columns": {"nr": "id", "warm": "temperature > 20", "place": "site.name"}}, ["nr", "warm", "place"]),
        ({"drop": ["tags", "site"]}, ["id", "device", "temperature"]),
        ({"rename": {"id": "nr"}, "drop": "site"}, ["nr", "device", "temperature", "tags"]),
    ],
)
def test_select_chooses_names_and_computes_columns(config: dict[str, Any], names: list[str]) -> None:
    made, _ = run(Select(**config))
    assert made.schema.names == names
    assert made.num_rows == 4


@pytest.mark.parametrize(
    ("text", "type"),
    [
        ("device || 'x'", pa.string()),
        ("site", pa.struct([("name", pa.string())])),
        ("tags", pa.list_(pa.string())),
        ("round(temperature, 1)", pa.float64()),
        ("id in (1, 2)", pa.bool_()),
        ("array_length(tags)", pa.uint32()),
        ("coalesce(device, 'none')", pa.string()),
        ("case when id > 1 then 'a' else device end", pa.string()),
        ("1", pa.int32()),
    ],
)
def test_the_planned_type_is_the_type_of_the_rows(text: str, type: pa.DataType) -> None:
    step = Compute(columns={"made": text})
    assert planned(step).type("made") == type
    made, _ = run(step)
    assert made["made"].type == type
    assert len(made["made"]) == 4


@pytest.mark.parametrize(
    ("step", "code", "pointer"),
    [
        (Filter(where="device > 20"), "plan.expression_type", "/where"),
        (Filter(where="temperature"), "plan.expression_type", "/where"),
        (Filter(where="temprature > 20"), "plan.unknown_column", "/where"),
        (Filter(where="site.nam = 'x'"), "plan.expression_type", "/where"),
        (Filter(where="temperature >"), "config.expression", "/where"),
        (Filter(where=" "), "config.expression", "/where"),
        (Compute(columns={"f": "abs(device)"}), "plan.expression_type", "/columns/f"),
        (Compute(columns={"a/b": "nosuch"}), "plan.unknown_column", "/columns/a~1b"),
        (Select(columns=["ide"]), "plan.unknown_column", "/columns/ide"),
        (Select(drop=["nosuch"]), "plan.unknown_column", "/drop"),
        (Select(rename={"id": "device"}), "plan.duplicate_column", "/rename"),
        (Select(), "config.select", None),
        (Select(columns=["id"], drop=["device"]), "config.select", "/columns"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_start(step: Processor, code: str, pointer: str | None) -> None:
    problem = refused(step)[0]
    assert (problem.code, problem.pointer) == (code, pointer)
    assert problem.fix


def test_an_unknown_column_names_the_nearest_one() -> None:
    problem = refused(Filter(where="temprature > 20"))[0]
    assert problem.fix == "write `temperature`"
    assert "`device`" in problem.cause


def test_every_wrong_column_is_told_at_once() -> None:
    pointers = {
        problem.pointer for problem in refused(Compute(columns={"a": "nosuch", "b": "device * 2 - abs(device)"}))
    }
    assert pointers == {"/columns/a", "/columns/b"}


@pytest.mark.parametrize(
    "text",
    [
        "sum(id) > 1",
        "temperature - avg(temperature) > 0",
        "count(*) > 1",
        "id = first(id)",
        "lag(id) over (order by id) > 1",
        "row_number() over (order by id) = 1",
        "rank() over (order by id) = 1",
        "unnest(tags) = 'x'",
        "id > (select 1)",
        "now() > '2020-01-01'",
        "current_date is null",
        "count(distinct id) = 1",
        "median(temperature) > 1",
        "string_agg(device, ',') = 'a'",
        "avg(temperature) in (1, 2)",
        "round(avg(temperature), 1) = 1",
        '"^t.*$" > 1',
    ],
)
def test_what_needs_more_than_its_row_is_refused(text: str) -> None:
    assert refused(Filter(where=text))[0].code == "config.expression_scope"


@pytest.mark.parametrize("text", ["device = 'now()'", "array_sum(array_unique(tags)) is null or true", '"now" > 1'])
def test_what_only_looks_like_it_is_fine(text: str) -> None:
    schema = pa.schema([("device", pa.string()), ("tags", pa.list_(pa.int64())), ("now", pa.int64())])
    assert planned(Filter(where=text), schema) == Schema(schema)


def test_an_open_schema_may_bring_the_column_later() -> None:
    driver: Any = driver_for(Filter(where="later > 1"), Context())
    assert driver.plan({"": Schema({"id": int}, open=True)})["out"].open


def test_rows_that_cannot_be_computed_are_rejected_alone() -> None:
    rows = pa.record_batch({"text": ["1", "x", "3", "", "5"]})
    made, done = run(Compute(columns={"number": "cast(text as int)"}), rows)
    assert made["number"].to_pylist() == [1, 3, 5]
    assert [(reject.code, reject.rows.to_pylist()) for reject in done.rejected] == [("step.expression", [1, 3])]


def test_a_filter_before_saves_rows_from_failing() -> None:
    rows = pa.record_batch({"text": ["1", "x", "3"]})
    step = Filter(where="text <> 'x'").fuse(Compute(columns={"number": "cast(text as int)"}))
    assert step is not None
    made, done = run(step, rows)
    assert made["number"].to_pylist() == [1, 3]
    assert not done.rejected


def test_rejects_behind_a_fused_filter_name_rows_of_the_input() -> None:
    rows = pa.record_batch({"id": [1, 2, 3, 4], "text": ["x", "1", "y", "2"]})
    step = Filter(where="id > 1").fuse(Compute(columns={"number": "cast(text as int)"}))
    assert step is not None
    made, done = run(step, rows)
    assert made["id"].to_pylist() == [2, 4]
    assert done.rejected[0].rows.to_pylist() == [2]


@pytest.mark.parametrize(
    ("step", "wanted", "needed"),
    [
        (Filter(where="temperature > 20"), frozenset(), {"temperature"}),
        (Filter(where="temperature > 20"), None, None),
        (Compute(columns={"f": "temperature * 2"}), frozenset({"f", "id"}), {"temperature", "id"}),
        (Select(columns={"nr": "id", "t": "temperature + 1"}), None, {"id", "temperature"}),
        (Select(rename={"id": "nr"}, drop=["tags"]), None, set(READINGS.schema.names)),
    ],
)
def test_needs_names_the_columns_to_read(step: Processor, wanted: Any, needed: set[str] | None) -> None:
    assert step.needs(wanted, Schema(READINGS.schema)) == needed


def test_a_pruned_batch_is_enough() -> None:
    made, _ = run(Filter(where="temperature > 20"), READINGS.select(["temperature"]))
    assert made["temperature"].to_pylist() == [25.0, 30.0]


def test_columns_keep_their_types_and_metadata() -> None:
    field = pa.field("weight", pa.dictionary(pa.int8(), pa.string()), metadata={"unit": "kg"})
    rows = pa.RecordBatch.from_arrays(
        [pa.array(["1", "2"]).dictionary_encode().cast(field.type)], schema=pa.schema([field])
    )
    driver: Any = driver_for(Filter(where="weight = '2'"), Context())
    made = driver.component.process(Batch(rows)).arrow
    assert made.schema.field("weight").equals(field, check_metadata=True)
    assert made.num_rows == 1


NUMBERS = st.one_of(st.none(), st.integers(-50, 50))
ROWS = st.lists(
    st.tuples(NUMBERS, st.one_of(st.none(), st.floats(-50, 50)), st.one_of(st.none(), st.sampled_from("abc"))),
    max_size=40,
)
CONDITIONS = st.sampled_from(
    ["a > 0", "b < 10 and a <> 3", "c = 'a'", "c is null or b > 0", "a % 2 = 0", "not (a > 0)"]
)
COLUMNS = st.sampled_from(
    [{"a": "a + 1"}, {"d": "b * 2", "b": "a"}, {"c": "coalesce(c, 'none') || 'x'"}, {"e": "case when a > b then a end"}]
)


def table_of(rows: list[Any]) -> pa.RecordBatch:
    a, b, c = zip(*rows, strict=True) if rows else ((), (), ())
    schema = pa.schema([("a", pa.int64()), ("b", pa.float64()), ("c", pa.string())])
    return pa.RecordBatch.from_arrays(
        [pa.array(part, field.type) for part, field in zip((a, b, c), schema, strict=True)], schema=schema
    )


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, where=CONDITIONS, columns=COLUMNS, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_cut_into_batches_or_not_it_equals_polars_on_the_whole(
    rows: list[Any], where: str, columns: dict[str, str], cuts: list[int]
) -> None:
    whole = table_of(rows)
    expected = pl.DataFrame(whole).filter(pl.sql_expr(where))
    expected = expected.with_columns(*(pl.sql_expr(text).alias(name) for name, text in columns.items()))
    fused = Filter(where=where).fuse(Compute(columns=columns))
    driver: Any = driver_for(fused, Context())  # type: ignore[arg-type]
    driver.plan({"": Schema(whole.schema)})
    driver.open(Resume())
    ends = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    got: list[dict[str, Any]] = []
    for start, end in pairwise(ends):
        for _, batch in driver.process(Batch(whole.slice(start, end - start))).outputs:
            got += batch.to_rows()
    assert got == expected.to_dicts()


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, steps=st.lists(st.one_of(CONDITIONS, COLUMNS), min_size=2, max_size=4))
def test_fused_steps_give_what_they_give_apart(rows: list[Any], steps: list[Any]) -> None:
    made: list[Any] = [Filter(where=step) if isinstance(step, str) else Compute(columns=step) for step in steps]
    apart = Batch(table_of(rows))
    for step in made:
        apart = step.process(apart)
    fused = made[0]
    for step in made[1:]:
        fused = fused.fuse(step)
    together = fused.process(Batch(table_of(rows)))
    assert together.arrow.equals(apart.arrow)
    assert (together.origin is None) == (apart.origin is None)
    assert together.origin is None or together.origin.equals(apart.origin)
