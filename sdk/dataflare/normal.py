"""The one form of each Arrow type that batches move in: schemas from Polars, DuckDB and pyarrow compare equal."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_UTC = frozenset({"utc", "etc/utc", "z", "zulu", "etc/zulu", "gmt", "etc/gmt", "+00:00", "+0000", "-00:00"})


def normal_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with every type in its normal form and every column nullable.

    The columns' own metadata stays, what a library left does not.
    """
    import pyarrow as pa

    if schema.metadata is None and all(_is_normal(column) for column in schema):
        return schema
    return pa.schema([_normal_field(column) for column in schema])


@lru_cache(maxsize=4096)
def normal_type(type: pa.DataType) -> pa.DataType:
    """The normal form of a type: ``string``, ``binary`` and ``list`` for their large and view forms, dictionaries with
    32-bit indices, ``UTC`` for its other names; in nested types too."""
    import pyarrow as pa

    is_ = pa.types
    if is_.is_large_string(type) or is_.is_string_view(type):
        return pa.string()
    if is_.is_large_binary(type) or is_.is_binary_view(type):
        return pa.binary()
    if is_.is_list(type) or is_.is_large_list(type) or is_.is_list_view(type) or is_.is_large_list_view(type):
        return pa.list_(_normal_field(type.value_field).with_name("item"))
    if is_.is_fixed_size_list(type):
        return pa.list_(_normal_field(type.value_field).with_name("item"), type.list_size)
    if is_.is_struct(type):
        return pa.struct([_normal_field(field) for field in type])
    if is_.is_map(type):
        return pa.map_(normal_type(type.key_type), _normal_field(type.item_field).with_name("value"))
    if is_.is_dictionary(type):
        return pa.dictionary(pa.int32(), normal_type(type.value_type))
    if is_.is_timestamp(type) and type.tz is not None and type.tz.lower() in _UTC:
        return pa.timestamp(type.unit, "UTC")
    return type


def _normal_field(field: pa.Field) -> pa.Field:
    if _is_normal(field):
        return field
    kept = {key: value for key, value in (field.metadata or {}).items() if not key.startswith(b"_PL_")}
    return field.with_type(normal_type(field.type)).with_metadata(kept or None).with_nullable(True)


def _is_normal(field: pa.Field) -> bool:
    kind = field.type
    same = normal_type(kind)
    foreign = field.metadata is not None and any(key.startswith(b"_PL_") for key in field.metadata)
    if not field.nullable or foreign:
        return False
    # Types that differ in the names of their children only are equal for Arrow, but not as text.
    return bool(same is kind or (same == kind and (kind.num_fields == 0 or str(same) == str(kind))))
