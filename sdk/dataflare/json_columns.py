"""JSON rows read a column at a time by Arrow's reader, where nothing about them is odd.

``dataflare.json_rows`` says what rows mean. Whatever Arrow might take for something else (numbers as text, columns of
other types, maps, broken JSON) is not read here, but there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

LEAST = 16 << 10
"""Bytes from which on it is quicker."""
_ROWS = "rows"


def read_plain(part: bytes | memoryview, schema: pa.Schema) -> pa.RecordBatch | None:
    """The rows of a JSON array as ``from_json_rows`` reads them; None where only that can tell."""
    import pyarrow as pa
    from pyarrow import json

    if (row := _row(schema)) is None:
        return None
    whole = b"".join((b'{"rows":', part, b"}"))
    try:
        whole.decode()
        table = json.read_json(
            pa.BufferReader(whole),
            json.ReadOptions(use_threads=False, block_size=len(whole) + 1),
            json.ParseOptions(
                explicit_schema=pa.schema([(_ROWS, pa.list_(row))]),
                newlines_in_values=True,
                unexpected_field_behavior="ignore",
            ),
        )
        lists = table.column(_ROWS).combine_chunks()
        rows = lists.flatten()
        if len(lists) != 1 or lists.null_count or rows.null_count:
            return None
        columns = [_meant(column, field.type) for column, field in zip(rows.flatten(), schema, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    except (ValueError, TypeError, KeyError, ArithmeticError):
        return None


def _row(schema: pa.Schema) -> pa.DataType | None:
    """What a row is read as; None where a column cannot be read so."""
    import pyarrow as pa

    read = {field.name: _read_as(field.type) for field in schema}
    if not read or len(read) < len(schema):
        return None
    fields = [pa.field(name, type) for name, type in read.items() if type is not None]
    return pa.struct(fields) if len(fields) == len(read) else None


def _read_as(type: pa.DataType) -> pa.DataType | None:
    """The type in which the JSON form of a column is read."""
    import pyarrow as pa

    is_ = pa.types
    if _is_plain(type):
        return type
    if is_.is_floating(type):
        return pa.float64()
    is_bytes = is_.is_binary(type) or is_.is_large_binary(type) or is_.is_fixed_size_binary(type)
    return pa.string() if is_bytes or is_.is_decimal(type) or is_.is_temporal(type) else None


def _is_plain(type: pa.DataType) -> bool:
    """Whether the JSON form of a type is what Arrow reads as that type."""
    import pyarrow as pa

    is_ = pa.types
    if is_.is_list(type):
        return _is_plain(type.value_type)
    if is_.is_struct(type):
        return type.num_fields > 0 and all(_is_plain(field.type) for field in type)
    known = is_.is_integer(type) or is_.is_float64(type) or is_.is_boolean(type)
    return bool(known or is_.is_string(type) or is_.is_large_string(type))


def _meant(column: pa.Array, type: pa.DataType) -> pa.Array:
    from dataflare.json_rows import arrow_values

    if column.type == type:
        return column
    return column.cast(type) if _casts(type) else arrow_values(column.to_pylist(), type)


def _casts(type: pa.DataType) -> bool:
    """Whether ``from_json_rows`` itself casts texts, or numbers, to this type."""
    import pyarrow as pa

    is_ = pa.types
    return bool(is_.is_floating(type) or is_.is_timestamp(type) or is_.is_date(type))
