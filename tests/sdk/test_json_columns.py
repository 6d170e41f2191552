"""What is read a column at a time is what is read a value at a time; all that is odd is left to the latter."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.errors import DataflareError
from dataflare.guest.encoding import decode, encode
from dataflare.hosting.rows import rows_in
from dataflare.json_columns import LEAST, read_plain
from dataflare.json_rows import from_json_rows, to_json_rows
from dataflare.schema import Schema

from .test_json_rows import columns


def a_value_at_a_time(part: bytes, schema: pa.Schema) -> pa.RecordBatch | None:
    """The same by ``from_json_rows``; None for what cannot be read."""
    try:
        rows = json.loads(part)
        return (
            from_json_rows(rows, schema) if isinstance(rows, list) and all(type(row) is dict for row in rows) else None
        )
    except (DataflareError, ValueError, RecursionError, pa.ArrowException):
        return None


def same(one: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    """Equal also where NaN is."""
    return bool(one.schema == other.schema and repr(one.to_pydict()) == repr(other.to_pydict()))


@settings(deadline=None)
@given(st.data())
def test_rows_of_any_types_are_the_same(data: Any) -> None:
    kinds = data.draw(st.lists(columns(), min_size=1, max_size=3))
    schema = pa.schema([(f"c{n}", kind) for n, (kind, _) in enumerate(kinds)])
    size = data.draw(st.integers(0, 4))
    arrays = [pa.array(data.draw(st.lists(inside, min_size=size, max_size=size)), kind) for kind, inside in kinds]
    rows = to_json_rows(pa.RecordBatch.from_arrays(arrays, schema=schema))
    if rows and data.draw(st.booleans()):
        rows[0] = {"unknown": [{}], **{name: value for name, value in rows[0].items() if name != "c0"}}
    part = json.dumps(rows).encode()
    found = read_plain(part, schema)
    if found is not None:
        found.validate(full=True)
        assert same(found, from_json_rows(rows, schema))


SCHEMA = pa.schema([("n", pa.int64()), ("x", pa.float64()), ("t", pa.string()), ("at", pa.timestamp("us", "UTC"))])
ROWS = b'[{"n":1,"x":2.5,"t":"a\\u00fc","at":"2026-01-31T12:30:00Z"},{"n":null,"t":"","at":null}]'


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(st.integers(0, len(ROWS)), st.integers(0, 3), st.sampled_from(list(b'[]{}",:0-.\\e\xff nN'))),
        max_size=3,
    )
)
def test_what_was_damaged_is_read_the_same_or_not_at_all(changes: list[tuple[int, int, int]]) -> None:
    part = ROWS
    for at, length, byte in changes:
        part = part[:at] + bytes([byte]) + part[at + length :]
    found, wanted = read_plain(part, SCHEMA), a_value_at_a_time(part, SCHEMA)
    if found is not None:
        found.validate(full=True)
        assert wanted is not None
        assert same(found, wanted)


@pytest.mark.parametrize(
    "part",
    [
        b"null",
        b"{}",
        b"[null]",
        b"[1]",
        b'[{"n":"9007199254740993"}]',
        b'[{"n":1.0}]',
        b'[{"n":1,"n":2}]',
        b'[{"x":"NaN"}]',
        b'[{"t":1}]',
        b'[{"t":"\\ud800"}]',
        b'[{"t":"\xff"}]',
        b'[{"at":"soon"}]',
        b'[{"n":1}]}\n{"rows":[{"n":2}]',
        b'[{"n":1}',
        b"",
    ],
)
def test_what_is_odd_is_left_alone(part: bytes) -> None:
    assert read_plain(part, SCHEMA) is None


def test_types_that_arrow_takes_for_something_else_are_left_alone() -> None:
    for kind in (pa.map_(pa.string(), pa.int64()), pa.list_(pa.binary()), pa.struct([]), pa.string_view()):
        assert read_plain(b"[]", pa.schema([("v", kind)])) is None
    assert read_plain(b"[]", pa.schema([])) is None
    assert read_plain(b"[]", pa.schema([("v", pa.int64()), ("v", pa.int64())])) is None


def test_depth_does_no_harm() -> None:
    deep = b'[{"v":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b',"n":1}]'
    found = read_plain(deep, SCHEMA)
    assert found is not None
    assert found["n"].to_pylist() == [1]


def test_large_parts_of_a_guest_are_read_so() -> None:
    rows = [{"n": n, "x": n / 7, "t": f"text {n}", "at": None} for n in range(1_000)]
    batch = from_json_rows(rows, SCHEMA)
    part = encode(decode(json.dumps(rows).encode(), "json", Schema(SCHEMA)), "json")
    assert len(part) > LEAST
    assert read_plain(part, SCHEMA) is not None
    assert rows_in(part, "json", Schema(SCHEMA)).arrow.equals(batch)
