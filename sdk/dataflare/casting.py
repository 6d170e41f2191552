"""Columns in other types: only where every value fits and none changes its meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa


def cast_record_batch(record_batch: pa.RecordBatch, schema: Any) -> pa.RecordBatch:
    """The columns of ``schema`` in its order and types, with its metadata; missing ones are null, others are left out.

    An open Schema keeps the others at the end. Numbers widen and narrow where each value fits exactly; text never
    becomes a number or a time, nor the other way round. Raises ConfigError (``batch.type``) with the column, both types
    and the first value that does not fit.
    """
    import pyarrow as pa

    from dataflare.schema import Schema

    wanted: pa.Schema = Schema(schema).arrow
    if record_batch.schema.equals(wanted, check_metadata=True):
        return record_batch
    given = dict(zip(record_batch.schema.names, record_batch.columns, strict=True))
    arrays, fields = [], []
    for field in wanted:
        column = given[field.name] if field.name in given else pa.nulls(len(record_batch), pa.null())
        arrays.append(cast_column(column, field))
        fields.append(field)
    if isinstance(schema, Schema) and schema.open:
        known = set(wanted.names)
        for index, (name, column) in enumerate(given.items()):
            if name not in known:
                arrays.append(column)
                fields.append(record_batch.schema.field(index))
    return from_arrays(arrays, pa.schema(fields, wanted.metadata), len(record_batch))


def from_arrays(arrays: list[pa.Array], schema: pa.Schema, length: int) -> pa.RecordBatch:
    """A record batch that keeps its number of rows even without columns."""
    import pyarrow as pa

    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    return pa.RecordBatch.from_struct_array(pa.array([{}] * length, pa.struct([])))


def cast_column(column: pa.Array, field: pa.Field) -> pa.Array:
    """The column in the type of ``field``. Raises ConfigError (``batch.type``)."""
    import pyarrow as pa

    if column.type != field.type and not fits(column.type, field.type):
        first = next((index for index in range(len(column)) if column[index].is_valid), None)
        if first is not None:
            raise wrong_type(field, column.type, first, column[first].as_py())
        column = pa.nulls(len(column), pa.null())
    try:
        made = cast_array(column, field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        index = first_bad(len(column), lambda start, stop: cast_array(column.slice(start, stop - start), field.type))
        raise wrong_type(field, column.type, index, column[index].as_py()) from error
    if not field.nullable and made.null_count:
        index = made.is_null().to_pylist().index(True)
        raise wrong_type(field, column.type, index, None)
    return made


def wrong_type(field: pa.Field, given: Any, index: int, value: Any) -> ConfigError:
    """The error for a value that does not fit a column."""
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    wanted = f"{field.type}" if value is not None else f"{field.type}, which cannot be null here"
    return ConfigError.of(
        "batch.type",
        f"`{field.name}` of row {index} is {shown}, not {wanted}",
        cause=f"the column is {given}, the schema says {field.type}",
        fix=f"change the value to {field.type}, or the schema of `{field.name}`",
        details={"column": field.name, "row": index, "given": str(given), "wanted": str(field.type)},
    )


def first_bad(count: int, attempt: Callable[[int, int], Any]) -> int:
    """The first of ``count`` values for which ``attempt(start, stop)`` fails, as it does for any stretch with one."""
    start, stop = 0, count
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            attempt(start, middle)
        except Exception:
            stop = middle
        else:
            start = middle
    return start


def fits(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type may be values of the other without a change of meaning."""
    from pyarrow import types as is_

    if given == wanted or is_.is_null(given):
        return True
    if is_.is_dictionary(given) or is_.is_dictionary(wanted):
        return fits(_value_type(given), _value_type(wanted))
    if isinstance(given, _extension()) or isinstance(wanted, _extension()):
        return fits(_storage(given), _storage(wanted))
    if is_.is_struct(given) and is_.is_struct(wanted):
        names = {field.name: field.type for field in given}
        return all(fits(names[field.name], field.type) for field in wanted if field.name in names)
    if is_.is_map(given) and is_.is_map(wanted):
        return fits(given.key_type, wanted.key_type) and fits(given.item_type, wanted.item_type)
    if _is_list(given) and _is_list(wanted):
        return fits(given.value_type, wanted.value_type)
    if is_.is_timestamp(given) and is_.is_timestamp(wanted):
        return (given.tz is None) == (wanted.tz is None) or (given.tz is None and wanted.tz == "UTC")
    return any(family(given) and allowed(wanted) for family, allowed in _families())


def cast_array(array: pa.Array, type: pa.DataType) -> pa.Array:
    """The values in another type that fits; struct fields are matched by name."""
    import pyarrow as pa

    if array.type == type:
        return array if str(array.type) == str(type) else array.cast(type)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), type)
    if isinstance(array.type, pa.BaseExtensionType):
        return cast_array(array.storage, type)
    if isinstance(type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type, cast_array(array, type.storage_type))
    if pa.types.is_dictionary(array.type):
        return _from_dictionary(array, type)
    if pa.types.is_struct(type) and pa.types.is_struct(array.type) and type.num_fields:
        children = {field.name: array.field(index) for index, field in enumerate(array.type)}
        made = [cast_array(children.get(field.name, pa.nulls(len(array))), field.type) for field in type]
        return pa.StructArray.from_arrays(made, fields=list(type), mask=array.is_null())
    if pa.types.is_list(type) and _is_list(array.type) and _is_nested(array.type):
        return _rebuilt_list(array, type)
    return array.cast(type)


def _from_dictionary(array: Any, type: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if not pa.types.is_dictionary(type):
        return cast_array(array.dictionary_decode(), type)
    values = cast_array(array.dictionary, type.value_type)
    return pa.DictionaryArray.from_arrays(array.indices.cast(type.index_type), values, ordered=type.ordered)


def _rebuilt_list(array: Any, type: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
    values = cast_array(array.flatten(), type.value_type)
    return pa.ListArray.from_arrays(offsets, values, type=type, mask=array.is_null())


def _is_nested(type: pa.DataType) -> bool:
    """Whether a list must be rebuilt from its values: Arrow's own cast does not match struct fields nor take views."""
    import pyarrow as pa

    kind = type.value_type
    view = pa.types.is_list_view(type) or pa.types.is_large_list_view(type)
    nested = pa.types.is_struct(kind) or pa.types.is_dictionary(kind) or (_is_list(kind) and _is_nested(kind))
    return bool(view or nested)


def _is_list(type: pa.DataType) -> bool:
    import pyarrow as pa

    is_ = pa.types
    plain = is_.is_list(type) or is_.is_large_list(type) or is_.is_fixed_size_list(type)
    return bool(plain or is_.is_list_view(type) or is_.is_large_list_view(type))


def _value_type(type: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return type.value_type if pa.types.is_dictionary(type) else type


def _storage(type: pa.DataType) -> pa.DataType:
    return type.storage_type if isinstance(type, _extension()) else type


def _extension() -> Any:
    import pyarrow as pa

    return pa.BaseExtensionType


def _families() -> tuple[tuple[Callable[[Any], bool], Callable[[Any], bool]], ...]:
    """Pairs of what is given and what it may become."""
    from pyarrow import types as is_

    def number(kind: Any) -> bool:
        return bool(is_.is_integer(kind) or is_.is_floating(kind) or is_.is_decimal(kind))

    def text(kind: Any) -> bool:
        return bool(is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind))

    def raw(kind: Any) -> bool:
        sized = is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind)
        return bool(sized or is_.is_binary_view(kind))

    def day(kind: Any) -> bool:
        return bool(is_.is_date(kind) or (is_.is_timestamp(kind) and kind.tz is None))

    return (
        (number, number),
        (text, text),
        (raw, raw),
        (is_.is_date, day),
        (is_.is_time, is_.is_time),
        (is_.is_duration, is_.is_duration),
    )
