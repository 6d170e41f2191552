"""Rows in the binary form of PostgreSQL's COPY, made a column at a time: no Python object for a row.

Faster than the ADBC driver's ingest (``bench/README.md``), and on the connection that has the transaction. Each value
is its length (four bytes, big end first) and its bytes; -1 and nothing for null.
"""

from __future__ import annotations

import array
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataflare_std.sql.json_text import json_text
from dataflare_std.sql.postgres_types import DAY_ONE, integer_width, is_bytes, is_text
from dataflare_std.sql.times import microseconds

if TYPE_CHECKING:
    import pyarrow as pa

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
PIECE = 16 << 20
YEAR_2000 = 946_684_800_000_000
CODES = {1: "b", 2: "h", 4: "i", 8: "q"}


def copy_pieces(rows: pa.RecordBatch) -> Iterator[memoryview]:
    """The rows, some megabytes at a time; ``HEAD`` comes before, ``TAIL`` after all of them."""
    size = max(1, rows.num_rows * PIECE // max(rows.nbytes, 1))
    count = struct.pack("!h", rows.num_columns)
    for start in range(0, rows.num_rows, size):
        part = rows.slice(start, size)
        values = [_values(column) for column in part.columns]
        yield _bytes_of(_joined(count, *values))


def _values(column: pa.Array) -> pa.Array:
    """Length and bytes of each value, as large binary."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as is_

    kind = column.type
    if is_.is_dictionary(kind):
        return _values(column.dictionary_decode())
    if is_.is_null(kind):
        return pa.array([NULL] * len(column), pa.large_binary())
    if is_text(kind) or is_bytes(kind):
        values = _measured(column.cast(pa.large_string() if is_text(kind) else pa.large_binary()), b"")
    elif is_.is_nested(kind):
        values = _measured(json_text(column).cast(pa.large_string()), b"\x01")  # jsonb, version 1
    elif is_.is_decimal(kind) or is_.is_uint64(kind):
        values = _measured(_numerics(column), b"")
    elif is_.is_duration(kind):
        values = _fixed(microseconds(column), 16)  # days and months, which are zero, follow
    else:
        numbers = _numbers(column)
        values = _fixed(numbers, numbers.type.bit_width // 8)
    if not column.null_count:
        return values
    return pc.if_else(pc.is_null(column), pa.scalar(NULL, pa.large_binary()), values)


def _numbers(column: pa.Array) -> pa.Array:
    """What PostgreSQL keeps as a number of fixed width, as whole numbers with the same bits."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as is_

    kind = column.type
    if is_.is_boolean(kind):
        return column.cast(pa.int8())
    if is_.is_date(kind):
        return pc.subtract(column.cast(pa.date32()).cast(pa.int32()), pa.scalar(DAY_ONE, pa.int32()))
    if is_.is_timestamp(kind):
        return pc.subtract(microseconds(column), YEAR_2000)
    if is_.is_time(kind):
        return microseconds(column)
    if is_.is_floating(kind):
        wide = column.cast(pa.float32()) if is_.is_float16(kind) else column
        return wide.view(pa.int64() if is_.is_float64(kind) else pa.int32())
    return column.cast({2: pa.int16(), 4: pa.int32(), 8: pa.int64()}[integer_width(kind)])


def _fixed(numbers: pa.Array, width: int) -> pa.Array:
    """Values of fixed width: the number's own bytes, and zeros up to ``width``."""
    own = numbers.type.bit_width // 8
    return _joined(struct.pack("!i", width), _swapped(numbers, own), bytes(width - own))


def _measured(values: pa.Array, before: bytes) -> pa.Array:
    """Values of any length, with ``before`` in front of each; null counts as empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.add(pc.binary_length(values), len(before)), 0).cast(pa.int32())
    data = pc.fill_null(values.cast(pa.large_binary()), b"")
    return _joined(_swapped(lengths, 4), before, data)


def _joined(*pieces: pa.Array | bytes) -> pa.Array:
    """One value a row: the pieces behind one another, bytes the same in each row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.large_binary()
    parts = [pa.scalar(piece, kind) if isinstance(piece, bytes) else piece for piece in pieces]
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", kind))


def _swapped(numbers: pa.Array, width: int) -> pa.Array:
    """Each number's bytes, the big end first."""
    import pyarrow as pa

    data: array.array[Any] = array.array(CODES[width])
    start = numbers.offset * width
    data.frombytes(memoryview(numbers.buffers()[1])[start : start + len(numbers) * width])
    data.byteswap()
    return pa.Array.from_buffers(pa.binary(width), len(numbers), [None, pa.py_buffer(data)]).cast(pa.large_binary())


def _numerics(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    from psycopg.types.numeric import DecimalBinaryDumper

    numbers = column.cast(pa.decimal128(20, 0)) if pa.types.is_uint64(column.type) else column
    dump = DecimalBinaryDumper(object).dump
    return pa.array(
        [None if value is None else bytes(dump(value) or b"") for value in numbers.to_pylist()], pa.large_binary()
    )


def _bytes_of(joined: pa.Array) -> memoryview:
    _, offsets, data = joined.buffers()
    return memoryview(data)[: struct.unpack_from("=q", offsets, 8 * len(joined))[0]]
