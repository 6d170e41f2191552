"""What authors give as rows: all forms give the same batches, in one normal form."""

import datetime as dt
import decimal
import enum
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TypedDict

import duckdb
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import Batch, Schema
from dataflare.errors import ConfigError
from dataflare.rows import cast_record_batch, normal_schema, normal_type, to_record_batch


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Site:
    name: str
    id: uuid.UUID


@dataclass
class Reading:
    id: int
    temperature: float
    site: Site
    colours: list[Colour]


class Person(pydantic.BaseModel):
    name: str
    born: dt.date


class Row(TypedDict):
    a: int


SITE = Site("x", uuid.UUID(int=5))
FORMS = {
    "dicts": [{"a": 1, "b": "x"}, {"a": 2, "b": None}],
    "deque": deque([{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    "columns": {"a": [1, 2], "b": ["x", None]},
    "range": {"a": range(1, 3), "b": pa.array(["x", None])},
    "chunks": {"a": pa.chunked_array([[1], [2]]), "b": pl.Series(["x", None])},
    "record batch": pa.RecordBatch.from_pydict({"a": [1, 2], "b": ["x", None]}),
    "table": pa.concat_tables(
        [pa.table({"a": [1], "b": ["x"]}), pa.table({"a": [2], "b": pa.array([None], pa.string())})]
    ),
    "polars": pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "reader": pa.RecordBatchReader.from_batches(
        pa.schema([("a", pa.int64()), ("b", pa.string())]),
        [pa.RecordBatch.from_pydict({"a": [1, 2], "b": ["x", None]})],
    ),
    "struct": pa.array([{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    "batch": Batch.of({"a": [1, 2], "b": ["x", None]}),
    "views": {"a": [1, 2], "b": pa.array(["x", None], pa.string_view())},
    "large": {"a": [1, 2], "b": pa.array(["x", None], pa.large_string())},
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_batch(form):
    made = to_record_batch(FORMS[form])
    assert made.schema.equals(pa.schema([("a", pa.int64()), ("b", pa.string())]), check_metadata=True)
    assert made.to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_duckdb_results_are_rows():
    made = to_record_batch(duckdb.sql("select 1::bigint as a, ['x'] as b, now() as t"))
    assert made.schema == pa.schema([("a", pa.int64()), ("b", pa.list_(pa.string())), ("t", pa.timestamp("us", "UTC"))])


def test_dataclasses_and_models_bring_their_schema():
    made = to_record_batch([Reading(1, 2, SITE, [Colour.RED]), Reading(2, 2.5, SITE, [])])
    site = pa.struct([("name", pa.string()), ("id", pa.string())])
    assert made.schema == pa.schema(
        [("id", pa.int64()), ("temperature", pa.float64()), ("site", site), ("colours", pa.list_(pa.string()))]
    )
    assert made.to_pylist()[0]["site"] == {"name": "x", "id": str(uuid.UUID(int=5))}
    assert to_record_batch([Person(name="a", born=dt.date(2000, 1, 1))]).schema.types == [pa.string(), pa.date32()]
    assert to_record_batch([Row(a=1)]).to_pylist() == [{"a": 1}]


def test_rows_with_differing_keys():
    assert to_record_batch([{"a": 1}, {"b": "x"}, {}]).to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": "x"},
        {"a": None, "b": None},
    ]


def test_a_scalar_fills_every_row():
    assert to_record_batch({"n": range(2), "s": "x", "z": None, "d": {"k": 1}}).to_pylist() == [
        {"n": 0, "s": "x", "z": None, "d": {"k": 1}},
        {"n": 1, "s": "x", "z": None, "d": {"k": 1}},
    ]
    assert to_record_batch({"n": [], "s": "x"}).num_rows == 0


@pytest.mark.parametrize(("rows", "count"), [([], 0), ([{}, {}], 2), ({}, 0)])
def test_rows_without_columns(rows, count):
    made = to_record_batch(rows)
    assert (made.num_rows, made.num_columns) == (count, 0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (({"a": [1]}, 5), "a tuple is not rows"),
        ({"a": 1, "b": "x"}, r"`\[row\]`"),
        ({"a": [1, 2], "b": [1]}, "`a` has 2, `b` has 1"),
        ([(1, 2)], "row 0 is of type `tuple`"),
        ([{"a": 1}, 5], "row 1 is of type `int`"),
        ((row for row in [{"a": 1}]), "collect it"),
        (5, "of type `int`"),
        ("text", "of type `str`"),
        ({5: [1]}, "called 5"),
        (pa.array([1, 2]), "is not rows"),
    ],
)
def test_what_is_not_rows(rows, words):
    with pytest.raises(ConfigError, match=words) as caught:
        to_record_batch(rows)
    assert caught.value.code == "batch.rows"
    assert caught.value.problems[0].fix


def test_large_numbers_find_a_type():
    assert to_record_batch({"n": [0, 2**63]}).schema.types == [pa.uint64()]
    assert to_record_batch({"n": [-1, 2**80]}).schema.types == [pa.decimal128(38, 0)]


def test_mixed_values_name_the_first():
    with pytest.raises(ConfigError, match="`n` of row 2 is 'x', which does not go with"):
        to_record_batch([{"n": 1}, {"n": None}, {"n": "x"}])
    with pytest.raises(ConfigError, match=r"`n` of row 0 is .*no Arrow type"):
        to_record_batch([{"n": object()}])


@pytest.mark.parametrize(
    ("values", "kind", "row"),
    [
        ([1, "5"], pa.int64(), 1),
        ([None, 5.5], pa.int64(), 1),
        ([5], pa.string(), 0),
        ([True], pa.int64(), 0),
        ([1], pa.bool_(), 0),
        ([1, 300], pa.int8(), 1),
        (["2026-01-01"], pa.timestamp("us", "UTC"), 0),
        ([dt.datetime(2026, 1, 1, microsecond=5)], pa.timestamp("ms"), 0),
        ([decimal.Decimal("1.255")], pa.decimal128(5, 2), 0),
        ([{"x": 5.5}], pa.struct([("x", pa.int64())]), 0),
        ([{"x": "5"}], pa.struct([("x", pa.int64())]), 0),
        ([[1], ["a"]], pa.list_(pa.int64()), 1),
        ([2**53 + 1], pa.float64(), 0),
        (["x"], pa.null(), 0),
    ],
)
def test_a_value_that_does_not_fit_the_schema_is_named(values, kind, row):
    with pytest.raises(ConfigError) as caught:
        to_record_batch({"v": values}, {"v": kind})
    assert caught.value.code == "batch.type"
    assert caught.value.problems[0].details["column"] == "v"
    assert caught.value.problems[0].details["row"] == row
    assert repr(values[row])[:20] in str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None], pa.float64(), [1.0, None]),
        ([5.0], pa.int64(), [5]),
        ([None, None], pa.string(), [None, None]),
        (["a"], pa.dictionary(pa.int32(), pa.string()), ["a"]),
        ([dt.datetime(2026, 1, 1)], pa.timestamp("us", "UTC"), [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]),
        ([{"k": 1}, {"l": None}], pa.map_(pa.string(), pa.int64()), [[("k", 1)], [("l", None)]]),
        (
            [[{"b": 1, "a": "x"}]],
            pa.list_(pa.struct([("a", pa.string()), ("c", pa.int8())])),
            [[{"a": "x", "c": None}]],
        ),
        ([decimal.Decimal("1.5")], pa.decimal128(10, 3), [decimal.Decimal("1.500")]),
        ([dt.date(2026, 1, 1)], pa.timestamp("s"), [dt.datetime(2026, 1, 1)]),
        ([2**63], pa.uint64(), [2**63]),
        ([uuid.UUID(int=1)], pa.string(), [str(uuid.UUID(int=1))]),
        ([b"ab"], pa.binary(2), [b"ab"]),
    ],
)
def test_values_that_fit_the_schema(values, kind, expected):
    made = to_record_batch({"v": values}, {"v": kind})
    assert made.schema.types == [kind]
    assert made.to_pydict() == {"v": expected}


def test_cast_orders_adds_and_leaves_out_columns():
    schema = pa.schema([pa.field("b", pa.float32(), metadata={"unit": "C"}), pa.field("z", pa.string())], {"by": "us"})
    made = cast_record_batch(to_record_batch({"a": [1], "b": [2.5]}), schema)
    assert made.schema.equals(schema, check_metadata=True)
    assert made.to_pylist() == [{"b": 2.5, "z": None}]
    opened = cast_record_batch(to_record_batch({"a": [1], "b": [2.5]}), Schema({"b": pa.float64()}, open=True))
    assert opened.to_pylist() == [{"b": 2.5, "a": 1}]
    assert cast_record_batch(to_record_batch({"a": [1, 2]}), pa.schema([])).num_rows == 2


def test_a_column_that_must_not_be_null():
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    with pytest.raises(ConfigError, match="`a` of row 1 is None"):
        to_record_batch({"a": [1, None]}, schema)
    with pytest.raises(ConfigError, match="cannot be null"):
        to_record_batch({"b": [1]}, schema)


def test_an_equal_schema_costs_nothing():
    made = to_record_batch({"a": [1]})
    assert cast_record_batch(made, made.schema) is made
    assert to_record_batch(made) is made


@pytest.mark.parametrize(
    ("given_type", "normal"),
    [
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.binary_view(), pa.binary()),
        (pa.large_list(pa.large_string()), pa.list_(pa.string())),
        (pa.list_view(pa.string_view()), pa.list_(pa.string())),
        (pa.list_(pa.field("element", pa.int8(), nullable=False)), pa.list_(pa.int8())),
        (pa.list_(pa.string_view(), 2), pa.list_(pa.string(), 2)),
        (pa.struct([("a", pa.large_binary())]), pa.struct([("a", pa.binary())])),
        (pa.map_(pa.string_view(), pa.large_string()), pa.map_(pa.string(), pa.string())),
        (pa.dictionary(pa.uint8(), pa.string_view(), True), pa.dictionary(pa.int32(), pa.string())),
        (pa.timestamp("us", "Etc/UTC"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ns", "Europe/Paris"), pa.timestamp("ns", "Europe/Paris")),
        (pa.decimal128(5, 2), pa.decimal128(5, 2)),
    ],
)
def test_normal_types(given_type, normal):
    assert normal_type(given_type) == normal
    assert str(normal_type(given_type)) == str(normal), "equal for Arrow is not enough: digests are made of the text"
    assert normal_type(normal) == normal


def test_normal_schemas_keep_what_people_wrote():
    schema = pa.schema(
        [pa.field("t", pa.large_string(), False, {"unit": "C", "_PL_CATEGORICAL": "x"})], {"pandas": "x"}
    )
    normal = pa.schema([pa.field("t", pa.string(), True, {"unit": "C"})])
    assert normal_schema(schema).equals(normal, check_metadata=True)


leaves = st.sampled_from(
    [
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.float64(), st.floats(allow_nan=False)),
        (pa.string(), st.text(max_size=3)),
        (pa.bool_(), st.booleans()),
        (pa.binary(), st.binary(max_size=3)),
        (pa.date32(), st.dates()),
    ]
)


@st.composite
def columns(draw, depth=2):
    shape = draw(st.sampled_from(["leaf", "leaf", "list", "struct"])) if depth else "leaf"
    if shape == "leaf":
        kind, values = draw(leaves)
        return kind, st.none() | values
    kind, inside = draw(columns(depth=depth - 1))
    if shape == "list":
        return pa.list_(kind), st.none() | st.lists(inside, max_size=3)
    return pa.struct([("a", kind), ("b", pa.int64())]), st.none() | st.fixed_dictionaries(
        {"a": inside, "b": st.just(1)}
    )


@given(st.data())
def test_rows_columns_and_polars_agree(data):
    made = data.draw(st.lists(columns(), min_size=1, max_size=3))
    schema = pa.schema([(f"c{index}", kind) for index, (kind, _) in enumerate(made)])
    row = st.fixed_dictionaries({f"c{index}": values for index, (_, values) in enumerate(made)})
    rows = data.draw(st.lists(row, max_size=5))
    expected = pa.RecordBatch.from_pylist(rows, schema)
    columns_given = {name: [row[name] for row in rows] for name in schema.names}
    for form in (rows, columns_given, expected, pl.DataFrame(expected)):
        record_batch = to_record_batch(form, schema)
        record_batch.validate(full=True)
        assert record_batch.equals(expected)
    skip = data.draw(st.integers(0, len(rows)))
    narrowed = cast_record_batch(expected.slice(skip), pa.schema([*reversed(schema), pa.field("new", pa.int8())]))
    narrowed.validate(full=True)
    assert narrowed.to_pylist() == [
        {**{name: row[name] for name in reversed(schema.names)}, "new": None}
        for row in expected.slice(skip).to_pylist()
    ]


exact = st.integers(-(2**53), 2**53)


@given(st.lists(st.none() | exact | exact.map(float), max_size=6), st.sampled_from([pa.int64(), pa.float64()]))
def test_numbers_that_are_exact_in_both_types_are_taken(values, kind):
    assert to_record_batch({"v": values}, {"v": kind})["v"].to_pylist() == values


@given(
    st.lists(exact, max_size=3), st.floats().filter(lambda value: not value.is_integer()), st.lists(exact, max_size=3)
)
def test_a_number_that_is_not_whole_is_never_cut(before, value, after):
    with pytest.raises(ConfigError) as caught:
        to_record_batch({"v": [*before, value, *after]}, {"v": pa.int64()})
    assert caught.value.problems[0].details["row"] == len(before)
