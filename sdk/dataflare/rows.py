"""What authors give as rows, turned into Arrow record batches."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from dataflare.casting import cast_array as _cast_array
from dataflare.casting import cast_column, first_bad, from_arrays, wrong_type
from dataflare.casting import cast_record_batch as cast_record_batch
from dataflare.errors import ConfigError
from dataflare.normal import normal_schema as normal_schema
from dataflare.normal import normal_type as normal_type

if TYPE_CHECKING:
    import pyarrow as pa

_MISFITS = (TypeError, ValueError, OverflowError, NotImplementedError)
"""What pyarrow raises for values that it cannot convert; its own errors derive from these."""


def to_record_batch(rows: Any, schema: Any = None) -> pa.RecordBatch:
    """One record batch of rows, in normal types, or in those of ``schema`` where one is given.

    Takes a list of dicts, dataclasses or models (rows with differing keys: the others are null), a dict of columns
    (lists, ranges, arrays; a scalar fills every row), a Batch, a record batch, a table, or any object with the Arrow
    PyCapsule interface. Raises ConfigError (``batch.rows``) for anything else, a tuple above all, (``batch.type``)
    for values without a common type or that do not fit the schema.
    """
    made = _made(rows, schema)
    return made if schema is None else cast_record_batch(made, schema)


def _made(rows: Any, schema: Any) -> pa.RecordBatch:
    import pyarrow as pa

    from dataflare.batch import Batch

    if isinstance(rows, Batch):
        return _normal(rows.arrow)
    if isinstance(rows, pa.RecordBatch):
        return _normal(rows)
    if isinstance(rows, pa.Table):
        return _normal(_one_batch(rows))
    if isinstance(rows, Mapping):
        return _from_columns(rows, _types(schema))
    if hasattr(rows, "__arrow_c_stream__"):
        return _normal(_one_batch(_capsule(rows, pa.table)))
    if hasattr(rows, "__arrow_c_array__"):
        return _normal(_capsule(rows, pa.record_batch))
    if isinstance(rows, Sequence) and not isinstance(rows, (tuple, str, bytes, bytearray, range)):
        return _from_rows(rows, schema)
    raise _not_rows(rows)


def _capsule(rows: Any, read: Any) -> Any:
    try:
        return read(rows)
    except _MISFITS as error:
        raise _not_rows(rows) from error


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = []
    for column in table.columns:
        joined = column.combine_chunks()
        # A column of more than 2 GiB of text stays in chunks.
        arrays.append(joined if not hasattr(joined, "chunks") else joined.chunk(0))
    if any(len(array) != table.num_rows for array in arrays):
        raise ConfigError.of(
            "batch.rows", f"{table.num_rows} rows are too large for one batch", fix="give them in several batches"
        )
    return from_arrays(arrays, table.schema, table.num_rows)


def _normal(record_batch: pa.RecordBatch) -> pa.RecordBatch:
    wanted = normal_schema(record_batch.schema)
    if wanted is record_batch.schema or wanted.equals(record_batch.schema, check_metadata=True):
        return record_batch
    arrays = [_cast_array(array, field.type) for array, field in zip(record_batch.columns, wanted, strict=True)]
    return from_arrays(arrays, wanted, len(record_batch))


def _types(schema: Any) -> dict[str, pa.Field]:
    from dataflare.schema import Schema

    return {} if schema is None else {field.name: field for field in Schema(schema).arrow}


def _from_columns(columns: Mapping[str, Any], types: Mapping[str, pa.Field]) -> pa.RecordBatch:
    import pyarrow as pa

    given = {name: _values(value) for name, value in columns.items()}
    lengths = {name: len(value) for name, value in given.items() if value is not None}
    if given and not lengths:
        raise ConfigError.of(
            "batch.rows",
            f"a dict gives columns, but no value is a list: {', '.join(f'`{name}`' for name in given)}",
            fix="for one row give a list that holds it: `[row]`",
        )
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        raise ConfigError.of("batch.rows", f"the columns differ in length: {listed}", fix="give each as many values")
    length = next(iter(lengths.values()), 0)
    arrays, names = [], []
    for name, value in given.items():
        names.append(_column_name(name))
        wanted = types.get(name)
        if value is None:
            array = column_of(name, [columns[name]], wanted)
            arrays.append(pa.repeat(array[0], length) if length else array.slice(0, 0))
        else:
            arrays.append(column_of(name, value, wanted))
    schema = pa.schema([pa.field(name, array.type) for name, array in zip(names, arrays, strict=True)])
    return _normal(from_arrays(arrays, schema, length))


def _values(value: Any) -> Any:
    """The values of a column as something with a length; None for a scalar."""
    import pyarrow as pa

    if isinstance(value, pa.ChunkedArray):
        return value.combine_chunks()
    if isinstance(value, (pa.Array, list, tuple, range)):
        return value
    if hasattr(value, "__arrow_c_stream__"):
        return pa.chunked_array(value).combine_chunks()
    if hasattr(value, "__arrow_c_array__"):
        return pa.array(value)
    if isinstance(value, (str, bytes, bytearray, Mapping, set, frozenset)) or not isinstance(value, Iterable):
        return value if hasattr(value, "__array__") and getattr(value, "ndim", 0) == 1 else None
    return list(value)


def _from_rows(rows: Sequence[Any], schema: Any) -> pa.RecordBatch:
    import pyarrow as pa

    if not len(rows):
        return from_arrays([], pa.schema([]), 0)
    types = _types(schema)
    if not types and (described := _described(rows)) is not None:
        types = _types(described)
    plain: Sequence[Mapping[str, Any]] = rows if all(type(row) is dict for row in rows) else _dicts(rows)
    names = dict.fromkeys(chain.from_iterable(plain))
    arrays = [column_of(name, [row.get(name) for row in plain], types.get(name)) for name in names]
    fields = [pa.field(_column_name(name), array.type) for name, array in zip(names, arrays, strict=True)]
    return _normal(from_arrays(arrays, pa.schema(fields), len(rows)))


def _described(rows: Sequence[Any]) -> Any:
    """The schema that the rows' class describes, if they are all of one class that describes any."""
    from dataflare.arrow_types import describes_rows, schema_of

    kind = type(rows[0])
    if kind is dict or not describes_rows(kind) or any(type(row) is not kind for row in rows):
        return None
    try:
        return schema_of(kind)
    except ConfigError:
        return None


def _dicts(rows: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [row if isinstance(row, Mapping) else _dict(row, index) for index, row in enumerate(rows)]


def _dict(row: Any, index: int) -> dict[str, Any]:
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {column.name: _plain(getattr(row, column.name)) for column in dataclasses.fields(row)}
    if hasattr(row, "model_dump"):
        return {name: _plain(value) for name, value in row.model_dump().items()}
    raise ConfigError.of(
        "batch.rows",
        f"row {index} is of type `{type(row).__name__}`, which is not a row",
        fix="give each row as a dict, a dataclass or a model",
        details={"row": index},
    )


def column_of(name: str, values: Any, field: pa.Field | None = None) -> pa.Array:
    """An Arrow array of Python values (or of an array), in the type of ``field`` where one is given.

    Raises ConfigError (``batch.type``) with the first value that does not fit.
    """
    import pyarrow as pa

    if not isinstance(values, pa.Array):
        values = _array(name, values, field)
    if isinstance(values.type, pa.UuidType):
        values = pa.array([None if item is None else str(item) for item in values.to_pylist()], pa.string())
    return values if field is None else cast_column(values, field.with_nullable(True))


def _array(name: str, values: Any, field: pa.Field | None) -> pa.Array:
    import pyarrow as pa

    if field is not None and _holds_map(field.type):
        values = [_shaped(value, field.type) for value in values]
    try:
        return pa.array(values, field.type if field is not None and _holds_map(field.type) else None)
    except _MISFITS as error:
        plain = values if field is not None and _holds_map(field.type) else [_plain(value) for value in values]
        for type in (field.type if field is not None else None, None, pa.uint64(), pa.decimal128(38, 0)):
            try:
                # A given type is tried only after inference failed: Arrow would cut 5.5 to 5 without a word.
                return pa.array(plain, type)
            except _MISFITS:
                continue
        raise _mixed(name, plain, field) from error


def _holds_map(type: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_map(type) or any(_holds_map(type.field(index).type) for index in range(type.num_fields))


def _shaped(value: Any, type: pa.DataType) -> Any:
    """A value with its dicts as lists of pairs where the type is a map: Arrow would take them for structs."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(type):
        pairs = value.items() if isinstance(value, Mapping) else value
        return [(_plain(key), _shaped(item, type.item_type)) for key, item in pairs]
    value = _plain(value)
    if pa.types.is_struct(type) and isinstance(value, Mapping):
        return {field.name: _shaped(value.get(field.name), field.type) for field in type}
    if isinstance(value, list) and type.num_fields == 1:
        return [_shaped(item, type.value_type) for item in value]
    return value


def _mixed(name: str, values: list[Any], field: pa.Field | None) -> ConfigError:
    import pyarrow as pa

    if field is not None:
        index = first_bad(len(values), lambda start, stop: pa.array(values[start:stop], field.type))
        return wrong_type(field, type(values[index]).__name__, index, values[index])
    index = next((stop - 1 for stop in range(1, len(values) + 1) if not _converts(values[:stop])), 0)
    why = "which does not go with the values before it" if index else "which is of no Arrow type"
    return ConfigError.of(
        "batch.type",
        f"`{name}` of row {index} is {values[index]!r}, {why}",
        cause="all values of a column have one type",
        fix="give one type of value, or give a schema",
        details={"column": name, "row": index},
    )


def _converts(values: list[Any]) -> bool:
    import pyarrow as pa

    try:
        pa.array(values)
    except _MISFITS:
        return False
    return True


def _plain(value: Any) -> Any:
    """A value as Arrow knows it: enums by their value, UUIDs as text, nested rows as dicts."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dict(value, 0)
    return _plain(value.model_dump()) if hasattr(value, "model_dump") else value


def _column_name(name: Any) -> str:
    if isinstance(name, str):
        return name
    raise ConfigError.of("batch.rows", f"a column cannot be called {name!r}", fix="give columns names that are text")


def _not_rows(rows: Any) -> ConfigError:
    if isinstance(rows, tuple):
        what, fix = "a tuple is not rows", "write `yield rows, position` in a source; else give a list of dicts"
    elif isinstance(rows, Iterator):
        what, fix = "an iterator is not rows", "collect it into a list: `list(rows)`"
    else:
        what = f"a value of type `{type(rows).__name__}` is not rows"
        fix = "give a list of dicts, a dict of columns, a Batch, or an Arrow, Polars or DuckDB table"
    return ConfigError.of("batch.rows", what, fix=fix)
