"""Batches as JSON text say what their rows as JSON values say."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Batch
from dataflare.json_rows import from_json_rows, to_json_rows
from dataflare.json_text import json_text
from dataflare.schema import Schema

leaves: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats()),
    (pa.float32(), st.floats(width=32)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text()),
    (pa.large_string(), st.text('ab"\\\n\u2028é', max_size=4)),
    (pa.binary(), st.binary(max_size=4)),
    (pa.decimal128(9, 2), st.decimals(-999, 999, places=2)),
    (pa.date32(), st.dates()),
    (pa.timestamp("us", "UTC"), st.datetimes()),
    (pa.timestamp("ms"), st.datetimes().map(lambda at: at.replace(microsecond=0))),
    (pa.duration("s"), st.integers(-(10**6), 10**6)),
    (pa.null(), st.none()),
]


def nested(kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def lists(given: Any) -> Any:
        return pa.list_(given[0]), st.lists(st.none() | given[1], max_size=3)

    def structs(given: list[Any]) -> Any:
        names = [f"f{number}" for number in range(len(given))]
        kind = pa.struct([pa.field(name, each[0]) for name, each in zip(names, given, strict=True)])
        return kind, st.fixed_dictionaries({name: st.none() | each[1] for name, each in zip(names, given, strict=True)})

    return kinds.map(lists) | st.lists(kinds, min_size=1, max_size=3).map(structs)


columns = st.recursive(st.sampled_from(leaves), nested, max_leaves=4)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    kinds = draw(st.lists(columns, max_size=4))
    rows = draw(st.integers(0, 5))
    names = [f'c"{number}' for number in range(len(kinds))]
    arrays = [pa.array(draw(st.lists(st.none() | kind[1], min_size=rows, max_size=rows)), kind[0]) for kind in kinds]
    made = pa.RecordBatch.from_arrays(arrays, names=names)
    start = draw(st.integers(0, rows))
    return Batch(made.slice(start) if kinds else made)


@settings(deadline=None, max_examples=300)
@given(batches())
def test_the_text_is_that_of_the_rows(batch: Batch) -> None:
    rows = json.loads(json_text(batch))
    assert rows == to_json_rows(batch)
    if batch.columns:
        read = from_json_rows(rows, Schema(batch.schema))
        assert Batch(read).to_rows() == Batch(batch.arrow).to_rows() or "nan" in str(batch.to_rows())


def test_rows_without_columns_are_counted() -> None:
    empty = pa.RecordBatch.from_pylist([{}, {}])
    assert json.loads(json_text(Batch(pa.record_batch(empty)))) == [{}] * len(Batch(empty))


@pytest.mark.parametrize("value", [True, "x", 1.5])
def test_what_is_no_whole_number_is_still_refused(value: Any) -> None:
    with pytest.raises(Exception, match="not int64"):
        from_json_rows([{"n": 1}, {"n": value}], Schema({"n": int}))
    assert from_json_rows([{"n": 1}, {"n": "2"}, {"n": 3.0}], Schema({"n": int})).to_pylist() == [
        {"n": 1},
        {"n": 2},
        {"n": 3},
    ]
