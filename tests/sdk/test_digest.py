"""The digest of rows: the same for the same rows, however they come; another where any of them differs."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dataflare.digest import MODULUS, digest

TYPES: list[tuple[pa.DataType, Any]] = [
    (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=20)),
    (pa.binary(), st.binary(max_size=20)),
    (pa.timestamp("us", "UTC"), st.integers(-(2**40), 2**40)),
    (pa.decimal128(20, 3), st.decimals(-1000, 1000, places=3)),
    (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=15), max_size=3)),
    (pa.list_(pa.list_(pa.int8())), st.lists(st.lists(st.integers(-5, 5), max_size=2), max_size=2)),
    (pa.struct({"x": pa.int64(), "y": pa.list_(pa.string())}), st.fixed_dictionaries({"x": st.integers(0, 9)})),
    (pa.map_(pa.string(), pa.int8()), st.dictionaries(st.text(max_size=2), st.integers(0, 9), max_size=2)),
    (pa.decimal256(50, 2), st.decimals(-1000, 1000, places=2)),
    (pa.list_(pa.int8(), 2), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
]


@st.composite
def batches(draw: Any) -> pa.RecordBatch:
    rows = draw(st.integers(1, 12))
    columns = {}
    for number, (kind, values) in enumerate(draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))):
        taken = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        given = [list(value.items()) if isinstance(value, dict) and pa.types.is_map(kind) else value for value in taken]
        columns[f"c{number}"] = pa.array(given, kind)
    return pa.record_batch(columns)


@given(batches(), st.randoms(use_true_random=False))
def test_cuts_order_and_what_stands_beside_do_not_matter(batch: pa.RecordBatch, chance: random.Random) -> None:
    whole, rows = digest(batch), list(range(batch.num_rows))
    assert sum(digest(batch.slice(row, 1)) for row in rows) % MODULUS == whole
    chance.shuffle(rows)
    assert digest(batch.take(pa.array(rows, pa.int64()))) == whole
    names = batch.schema.names
    chance.shuffle(names)
    beside = {**{name: batch[name] for name in names}, "nulls": pa.nulls(batch.num_rows, pa.int8())}
    assert digest(pa.record_batch(beside)) == whole


@given(batches(), st.data())
def test_a_row_lost_or_doubled_shows(batch: pa.RecordBatch, data: Any) -> None:
    row = data.draw(st.integers(0, batch.num_rows - 1))
    others = [other for other in range(batch.num_rows) if other != row]
    assert digest(batch.take(pa.array(others, pa.int64()))) != digest(batch)
    assert digest(batch.take(pa.array([*others, row, row], pa.int64()))) != digest(batch)


def test_values_that_change_places_show() -> None:
    rows = pa.record_batch({"a": [1, 2], "b": [1, 2]})
    assert digest(rows) != digest(pa.record_batch({"a": [1, 2], "b": [2, 1]}))
    assert digest(pa.record_batch({"a": [1], "b": [2]})) != digest(pa.record_batch({"a": [2], "b": [1]}))
    assert digest(pa.record_batch({"a": [None, 1]})) != digest(pa.record_batch({"a": [0, 1]}))


def test_the_encoding_does_not_matter() -> None:
    words = ["x", "y", None, "x", "much longer than any that is kept inline"]
    plain = digest(pa.record_batch({"w": pa.array(words, pa.string())}))
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        assert digest(pa.record_batch({"w": pa.array(words).cast(kind)})) == plain
    tags = [["x", None], [], None, ["much longer than any that is kept inline"]]
    lists = digest(pa.record_batch({"t": pa.array(tags, pa.list_(pa.string()))}))
    for kind in (pa.large_list(pa.string_view()), pa.list_(pa.dictionary(pa.int8(), pa.string()))):
        assert digest(pa.record_batch({"t": pa.array(tags, pa.list_(pa.string())).cast(kind)})) == lists


def test_rows_without_columns_count_too() -> None:
    rows = pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))
    assert digest(rows) == 2 * digest(rows.slice(0, 1)) % MODULUS != 0
