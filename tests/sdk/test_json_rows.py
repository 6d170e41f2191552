"""Rows as JSON: the vectors, and that nothing is lost on the way there and back."""

import json
import math
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import Batch
from dataflare.errors import ConfigError
from dataflare.json_rows import from_json_rows, to_json_rows


def test_vectors(vectors, type_named):
    for vector in vectors("json_rows"):
        schema = pa.schema([("v", type_named(vector["type"]))])
        record_batch = from_json_rows([{"v": vector["json"]}], schema)
        record_batch.validate(full=True)
        assert record_batch.schema == schema, vector
        [row] = to_json_rows(record_batch)
        assert json.dumps(row["v"]) == json.dumps(vector["json"]), vector


leaves = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.float64(): st.floats(),
    pa.string(): st.text(max_size=4),
    pa.binary(): st.binary(max_size=4),
    pa.bool_(): st.booleans(),
    pa.timestamp("us"): st.datetimes(),
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
    pa.duration("us"): st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6)),
    pa.decimal128(12, 2): st.decimals(-(10**9), 10**9, places=2),
}


@st.composite
def columns(draw, depth=2):
    """An Arrow type and a strategy of its values."""
    shape = draw(st.sampled_from(["leaf", "leaf", "list", "struct", "map"])) if depth else "leaf"
    if shape == "leaf":
        kind = draw(st.sampled_from(list(leaves)))
        return kind, st.none() | leaves[kind]
    kind, inside = draw(columns(depth=depth - 1))
    if shape == "list":
        return pa.list_(kind), st.none() | st.lists(inside, max_size=3)
    if shape == "map":
        return pa.map_(pa.string(), kind), st.none() | st.lists(st.tuples(st.text(max_size=2), inside), max_size=3)
    return pa.struct([("a", kind), ("b", pa.int8())]), st.none() | st.fixed_dictionaries({"a": inside, "b": st.just(1)})


@given(st.data())
def test_rows_come_back_as_they_were(data):
    kind, inside = data.draw(columns())
    rows = data.draw(st.lists(inside, max_size=5))
    record_batch = pa.RecordBatch.from_arrays([pa.array(rows, kind)], names=["v"])
    skip = data.draw(st.integers(0, len(rows)))
    part = record_batch.slice(skip)
    text = json.dumps(to_json_rows(part), allow_nan=False)
    back = from_json_rows(json.loads(text), part.schema)
    back.validate(full=True)
    assert repr(back.column(0).to_pylist()) == repr(part.column(0).to_pylist())


def test_whole_numbers_are_strings_only_where_a_reader_would_round():
    rows = to_json_rows(Batch.of({"n": [2**53 - 1, 2**53, None]}))
    assert [row["n"] for row in rows] == [2**53 - 1, "9007199254740992", None]


def test_decimals_and_special_numbers():
    rows = to_json_rows(Batch.of([{"d": Decimal("1.50"), "f": math.nan}, {"d": None, "f": -math.inf}]))
    assert rows == [{"d": "1.50", "f": "NaN"}, {"d": None, "f": "-Infinity"}]


def test_missing_columns_are_null_and_unknown_ones_left_out():
    assert from_json_rows([{"x": 1}], {"a": int}).to_pylist() == [{"a": None}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int64(), "many"),
        (pa.int64(), 1.5),
        (pa.int64(), True),
        (pa.int8(), 300),
        (pa.float64(), True),
        (pa.binary(), "no base64!"),
        (pa.date32(), "tomorrow"),
        (pa.duration("s"), "PT1.5S"),
        (pa.list_(pa.int64()), "abc"),
        (pa.struct([("a", pa.int64())]), 5),
        (pa.decimal128(5, 2), "a"),
        (pa.decimal128(5, 2), "1.234"),
        (pa.bool_(), 1),
        (pa.string(), 1),
    ],
)
def test_a_value_that_cannot_be_read_is_named(kind, value):
    with pytest.raises(ConfigError) as caught:
        from_json_rows([{"v": None}, {"v": value}], pa.schema([("v", kind)]))
    assert caught.value.code == "json.value"
    assert caught.value.problems[0].details == {"column": "v", "row": 1}


def test_intervals_have_no_json_form():
    with pytest.raises(ConfigError, match=r"json\.type"):
        to_json_rows(pa.RecordBatch.from_arrays([pa.array([None], pa.month_day_nano_interval())], names=["i"]))
