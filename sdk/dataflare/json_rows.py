"""Rows as JSON by their schema, without loss.

===========================  ==============================================================================
Arrow                        JSON
===========================  ==============================================================================
bool, text, null             as they are
whole numbers                number; beyond ±(2^53 - 1) a string of digits
floating numbers             number; ``"NaN"``, ``"Infinity"``, ``"-Infinity"``
decimals                     string, all digits of the scale (``"1.50"``)
binary                       base64 string
date                         ``"2026-01-31"``
time of day                  ``"12:30:00.5"``, no zeros at the end of the fraction
timestamp                    ``"2026-01-31T12:30:00.5"``, with a zone in UTC and ``Z`` at the end
duration                     ``"PT1.5S"``: seconds; ``"-PT1.5S"``
list, struct                 array, object
map                          array of ``[key, value]`` pairs
===========================  ==============================================================================
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from types import NoneType
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare.json_values import DIGITS, each
from dataflare.json_values import json_values as json_values

if TYPE_CHECKING:
    import pyarrow as pa

_TIME = re.compile(r"^(\d\d):(\d\d):(\d\d)(?:\.(\d+))?$")
_DURATION = re.compile(r"^(-?)PT(\d+)(?:\.(\d+))?S$")


def to_json_rows(batch: Any) -> list[dict[str, Any]]:
    """The rows of a Batch or record batch as JSON values. Raises ConfigError (``json.type``) for intervals."""
    record_batch: pa.RecordBatch = getattr(batch, "arrow", batch)
    names = record_batch.schema.names
    columns = [json_values(column) for column in record_batch.columns]
    if not columns:
        return [{} for _ in range(record_batch.num_rows)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def from_json_rows(rows: Iterable[dict[str, Any]], schema: Any) -> pa.RecordBatch:
    """The record batch that ``to_json_rows`` was given; missing columns are null, unknown ones are left out.

    Raises ConfigError (``json.value``) with the column and the first value that cannot be read.
    """
    from dataflare.casting import first_bad, from_arrays
    from dataflare.schema import Schema

    given = list(rows)
    wanted: pa.Schema = Schema(schema).arrow
    arrays = []
    for field in wanted:
        values = [row.get(field.name) for row in given]
        try:
            arrays.append(arrow_values(values, field.type))
        except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation, OverflowError) as error:
            bad = first_bad(len(values), lambda a, b, v=values, t=field.type: arrow_values(v[a:b], t))  # type: ignore[misc]
            raise ConfigError.of(
                "json.value",
                f"`{field.name}` of row {bad} is {values[bad]!r}, not {field.type}",
                fix=f"write it as the JSON form of {field.type}",
                details={"column": field.name, "row": bad},
            ) from error
    return from_arrays(arrays, wanted, len(given))


def arrow_values(values: Sequence[Any], type: pa.DataType) -> pa.Array:
    """An array of JSON values. Raises ValueError or TypeError for values that cannot be read."""
    import pyarrow as pa

    is_ = pa.types
    if isinstance(type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type, arrow_values(values, type.storage_type))
    if is_.is_dictionary(type):
        return arrow_values(values, type.value_type).dictionary_encode().cast(type)
    if is_.is_struct(type):
        mask = pa.array([value is None for value in values], pa.bool_())
        parts = [arrow_values([None if row is None else row.get(f.name) for row in values], f.type) for f in type]
        if parts:
            return pa.StructArray.from_arrays(parts, fields=list(type), mask=mask)
        return pa.array([None if value is None else {} for value in values], type)
    if is_.is_map(type):
        pairs = [pair for value in values for pair in value or ()]
        keys = arrow_values([key for key, _ in pairs], type.key_type)
        items = arrow_values([item for _, item in pairs], type.item_type)
        return pa.MapArray.from_arrays(_offsets(values), keys, items, type=type)
    if is_.is_fixed_size_list(type):
        empty = [None] * type.list_size
        whole = [empty if value is None else value for value in values]
        flat = arrow_values([item for value in whole for item in value], type.value_type)
        return pa.FixedSizeListArray.from_arrays(
            flat, type=type, mask=pa.array([v is None for v in values], pa.bool_())
        )
    if hasattr(type, "value_type"):
        flat = arrow_values([item for value in values for item in value or ()], type.value_type)
        plain = pa.ListArray.from_arrays(_offsets(values), flat, type=pa.list_(type.value_field))
        return plain if is_.is_list(type) else plain.cast(type)
    return _scalars(values, type)


def _offsets(values: Sequence[Any]) -> pa.Array:
    """Offsets of lists; a null offset makes the list null."""
    import pyarrow as pa

    offsets: list[int | None] = []
    total = 0
    for value in values:
        if value is not None and not isinstance(value, (list, tuple)):
            raise TypeError("expected an array")
        offsets.append(None if value is None else total)
        total += len(value or ())
    return pa.array([*offsets, total], pa.int32())


def _scalars(values: Sequence[Any], type: pa.DataType) -> pa.Array:
    import pyarrow as pa

    is_ = pa.types
    if is_.is_integer(type):
        return pa.array(values if _all_of(values, (int,)) else each(values, _integer), type)
    if is_.is_floating(type):
        plain = _all_of(values, (float, int))
        return pa.array(values if plain else each(values, _float), pa.float64()).cast(type)
    if is_.is_decimal(type):
        return pa.array(each(values, lambda value: Decimal(str(value))), pa.decimal256(76, type.scale)).cast(type)
    if is_.is_binary(type) or is_.is_fixed_size_binary(type) or is_.is_large_binary(type) or is_.is_binary_view(type):
        return pa.array(each(values, _binary), type)
    if is_.is_duration(type):
        digits = DIGITS[type.unit]
        return pa.array(each(values, lambda value: _duration(value, digits)), pa.int64()).cast(type)
    if is_.is_time(type):
        digits = DIGITS[type.unit]
        count = pa.array(each(values, lambda value: _time_of_day(value, digits)), pa.int64())
        return count.cast(pa.int32() if is_.is_time32(type) else pa.int64()).cast(type)
    if is_.is_temporal(type):
        return pa.array(values, pa.string()).cast(type)
    return pa.array(values, type)


def _all_of(values: Sequence[Any], kinds: tuple[type, ...]) -> bool:
    """Whether all values are exactly of these types, or null: then Arrow reads them as they are."""
    return set(map(type, values)) <= {*kinds, NoneType}


def _integer(value: Any) -> int:
    if isinstance(value, (bool, float)) and not (isinstance(value, float) and value.is_integer()):
        raise TypeError("expected a whole number")
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("expected a number")
    return float(value)


def _binary(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _duration(value: Any, digits: int) -> int:
    found = _DURATION.match(value)
    if found is None:
        raise ValueError("expected a duration such as PT1.5S")
    sign, seconds, fraction = found.groups(default="")
    return int(f"{sign}{seconds}{_padded(fraction, digits)}")


def _time_of_day(value: Any, digits: int) -> int:
    found = _TIME.match(value)
    if found is None:
        raise ValueError("expected a time such as 12:30:00.5")
    hours, minutes, seconds, fraction = found.groups(default="")
    if int(hours) > 23 or int(minutes) > 59 or int(seconds) > 59:
        raise ValueError("no time of a day")
    return int(f"{int(hours) * 3600 + int(minutes) * 60 + int(seconds)}{_padded(fraction, digits)}")


def _padded(fraction: str, digits: int) -> str:
    if len(fraction) > digits:
        raise ValueError("more digits than the unit has")
    return fraction.ljust(digits, "0")
