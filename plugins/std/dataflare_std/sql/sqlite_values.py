"""Arrow values as values that a database driver binds."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from dataflare.json_rows import json_values

if TYPE_CHECKING:
    import pyarrow as pa

TIME_LENGTH = len("23:59:59.999999")


def unsupported(type: pa.DataType) -> bool:
    """Whether a table has no way to hold this type."""
    import pyarrow.types as kinds

    if kinds.is_dictionary(type):
        return unsupported(type.value_type)
    return bool(kinds.is_duration(type) or kinds.is_interval(type) or kinds.is_union(type))


def declared(type: pa.DataType) -> str:
    """The column type that a new SQLite column gets."""
    import pyarrow.types as kinds

    if kinds.is_dictionary(type):
        return declared(type.value_type)
    for is_kind, name in (
        (kinds.is_boolean, "BOOLEAN"),
        (kinds.is_integer, "INTEGER"),
        (kinds.is_floating, "REAL"),
        (_is_bytes, "BLOB"),
        (kinds.is_date, "DATE"),
        (kinds.is_time, "TIME"),
        (kinds.is_timestamp, "TIMESTAMP"),
    ):
        if is_kind(type):
            return name
    return "TEXT"


def bindable(array: pa.Array) -> list[Any]:
    """One value a row: numbers, text, bytes or None; times as ISO 8601, lists and structures as JSON."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = array.type
    if kinds.is_dictionary(kind):
        return bindable(array.dictionary_decode())
    if kinds.is_nested(kind):
        return _as_json(array)
    if kinds.is_decimal(kind) or kinds.is_temporal(kind):
        return _as_text(array)
    if kinds.is_fixed_size_binary(kind) or kinds.is_null(kind):
        return list(array.to_pylist())
    if kinds.is_float16(kind):
        array = array.cast(pa.float32())
    # several times faster than `to_pylist`
    return pl.Series(array).to_list()


def as_declared(values: list[Any], kind: str) -> pa.Array | list[Any]:
    """Values as they were before they were bound: truths, dates and times by the type of their column.

    What others wrote in another form, or with more digits than microseconds have, stays as it is.
    """
    import pyarrow as pa

    try:
        if kind == "BOOLEAN":
            return pa.array([None if value is None else bool(value) for value in values], pa.bool_())
        if kind == "TIME" and max((len(value or "") for value in values), default=0) <= TIME_LENGTH:
            return pa.array([None if value is None else dt.time.fromisoformat(value) for value in values])
        if kind == "DATE":
            return pa.array(values, pa.string()).cast(pa.date32())
        if kind == "TIMESTAMP":
            zoned = any(value is not None and value.endswith("Z") for value in values)
            return pa.array(values, pa.string()).cast(pa.timestamp("us", "UTC" if zoned else None))
    except (ValueError, TypeError, AttributeError):
        return values
    return values


def too_large(array: pa.Array) -> pa.Array | None:
    """Which rows hold a number above the largest signed 64-bit one; None if the type has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_uint64(array.type):
        return None
    return pc.fill_null(pc.greater(array, pa.scalar(2**63 - 1, pa.uint64())), False)


def _as_text(array: pa.Array) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = array.cast(pa.string())
    if pa.types.is_timestamp(array.type):
        text = pc.replace_substring(text, " ", "T", max_replacements=1)
    return list(text.to_pylist())


def _as_json(array: pa.Array) -> list[str | None]:
    return [
        None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        for value in json_values(array)
    ]


def _is_bytes(type: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(
        kinds.is_binary(type)
        or kinds.is_large_binary(type)
        or kinds.is_fixed_size_binary(type)
        or kinds.is_binary_view(type)
    )
