"""How the parsers of JSON lines are asked for a schema, and how it is told that they left nothing out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def wire(kind: pa.DataType) -> Any:
    """How DuckDB is asked for a type."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return {field.name: wire(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [wire(kind.value_type)]
    if pa.types.is_floating(kind):
        return "DOUBLE"
    as_written = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    return "JSON" if as_written else "VARCHAR"


def wired_schema(schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([pa.field(field.name, wired_type(field.type)) for field in schema])


def wired_type(kind: pa.DataType) -> pa.DataType:
    """What DuckDB gives for it."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, wired_type(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(wired_type(kind.value_type))
    return pa.float64() if pa.types.is_floating(kind) else pa.string()


def arrow_wire(kind: pa.DataType) -> pa.DataType:
    """How Arrow's reader is asked for a type: times, decimals and bytes as text, cast afterwards."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, arrow_wire(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(arrow_wire(kind.value_type))
    plain = (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )
    return kind if plain else pa.string()


def has_twins(kind: pa.DataType) -> bool:
    """True if a struct somewhere has two fields whose names differ only in case: DuckDB does not take these."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return has_twins(kind.value_type)
    if not pa.types.is_struct(kind):
        return False
    names = {field.name.lower() for field in kind}
    return len(names) < kind.num_fields or any(has_twins(field.type) for field in kind)


def keys_inside(array: pa.Array) -> int:
    """How many keys stand inside the objects of a column, if each has all of them."""
    import pyarrow as pa

    if pa.types.is_struct(array.type):
        here: int = (len(array) - array.null_count) * array.type.num_fields
        return here + sum(map(keys_inside, array.flatten()))
    if pa.types.is_list(array.type):
        return keys_inside(array.flatten())
    return 0


def may_hold_empty_row(rows: pa.RecordBatch) -> bool:
    """True if some row is null in every column: a line that is just ``null`` looks like that."""
    import pyarrow.compute as pc

    if not all(column.null_count for column in rows.columns):
        return False
    empty = rows.column(0).is_null()
    for column in rows.columns[1:]:
        empty = pc.and_(empty, column.is_null())
    return bool(pc.any(empty).as_py())
