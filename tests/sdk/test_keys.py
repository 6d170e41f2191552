"""Canonical key bytes: the vectors, and what must hold for any value."""

import math
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dataflare import Batch
from dataflare.errors import ConfigError, StateError
from dataflare.json_rows import arrow_values
from dataflare.keys import decode, encode


def test_vectors(vectors, type_named):
    wrong = []
    for vector in vectors("keys"):
        types = [type_named(name) for name in vector["types"]]
        columns = [arrow_values([value], kind) for value, kind in zip(vector["values"], types, strict=True)]
        names = [f"k{index}" for index in range(len(columns))]
        [key] = encode(pa.RecordBatch.from_arrays(columns, names=names), names)
        if key.hex() != vector["key"] or xxhash.xxh64_intdigest(key) % 256 != vector["group"]:
            wrong.append((vector, key.hex()))
        schema = pa.schema(list(zip(names, types, strict=True)))
        assert encode(decode([key], schema), names) == [key], vector
    assert not wrong


def same(left, right):
    both_nan = isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    return both_nan or left == right


values = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats() | st.sampled_from([0.0, -0.0, math.nan]),
    pa.string(): st.text(max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    pa.timestamp("ns"): st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
    pa.duration("us"): st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6)),
    pa.decimal128(20, 3): st.decimals(-(10**9), 10**9, places=3),
}


@st.composite
def key_rows(draw):
    types = draw(st.lists(st.sampled_from(list(values)), min_size=1, max_size=3))
    row = st.tuples(*(st.none() | values[kind] for kind in types))
    distinct = draw(st.lists(row, min_size=1, max_size=6))
    rows = draw(st.lists(st.sampled_from(distinct), min_size=1, max_size=12))
    names = [f"k{index}" for index in range(len(types))]
    arrays = [pa.array([row[index] for row in rows], kind) for index, kind in enumerate(types)]
    return rows, pa.RecordBatch.from_arrays(arrays, names=names)


@given(key_rows())
def test_keys_are_equal_exactly_where_the_rows_are(made):
    rows, record_batch = made
    keys = encode(record_batch, record_batch.schema.names)
    for left, left_key in zip(rows, keys, strict=True):
        for right, right_key in zip(rows, keys, strict=True):
            equal = all(same(a, b) for a, b in zip(left, right, strict=True))
            assert equal == (left_key == right_key)


@given(key_rows())
def test_keys_decode_to_the_rows_they_were_made_of(made):
    rows, record_batch = made
    keys = encode(record_batch, record_batch.schema.names)
    back = decode(keys, record_batch.schema)
    assert back.schema == record_batch.schema
    assert encode(back, back.schema.names) == keys
    for index, name in enumerate(back.schema.names):
        assert all(same(row[index], value) for row, value in zip(rows, back[name].to_pylist(), strict=True))


@given(st.lists(st.none() | st.sampled_from(["a", "b", "ä"]), min_size=1, max_size=3), st.integers(0, 5))
def test_repeated_values_sliced_columns_and_dictionaries_give_the_same_keys(few, offset):
    column = pa.array(few * 1500)
    one_by_one = [
        encode(pa.RecordBatch.from_arrays([pa.array([value], pa.string())], names=["k"]), ["k"])[0] for value in few
    ]
    expected = (one_by_one * 1500)[offset:]
    for form in (column, column.dictionary_encode(), column.cast(pa.large_string())):
        part = pa.RecordBatch.from_arrays([form], names=["k"]).slice(offset)
        assert encode(part, ["k"]) == expected
        assert encode(part, ["k", "k"]) == [key + key for key in expected]


def test_keys_of_sliced_numbers():
    batch = Batch.of({"n": [None, *range(5000)], "m": range(5001)})
    assert encode(batch.slice(3, 4), ["n", "m"]) == encode(batch, ["n", "m"])[3:7]


def test_no_columns_are_one_key_for_all():
    assert encode(Batch.of([{"a": 1}, {"a": 2}]), []) == [b"", b""]


def test_unknown_columns_and_types_without_keys_are_refused():
    batch = Batch.of([{"device": "a", "tags": ["x"]}])
    with pytest.raises(ConfigError, match=r"(?s)keys\.column.*write `device`"):
        encode(batch, ["devise"])
    with pytest.raises(ConfigError, match=r"keys\.type"):
        encode(batch, ["tags"])


@pytest.mark.parametrize("damaged", [b"", b"\x02\x00", b"\x06\x05\x00\x00\x00a", b"\xff", b"\x00\x00"])
def test_damaged_keys_are_named(damaged):
    with pytest.raises(StateError, match=r"state\.corrupt_key"):
        decode([damaged], {"k": str})
