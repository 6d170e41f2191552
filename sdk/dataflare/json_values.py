"""Arrow arrays as JSON values; the table is in ``dataflare.json_rows``."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

SAFE = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""
DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
"""Unit of a time → digits of its fraction of a second."""


def json_values(array: pa.Array) -> list[Any]:
    """The values of an array as JSON. Raises ConfigError (``json.type``) for intervals."""
    import pyarrow as pa

    from dataflare.casting import cast_array
    from dataflare.normal import normal_type

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    array = cast_array(array, normal_type(array.type))
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    for known, encode in _encoders():
        if known(array.type):
            return encode(array)
    raise ConfigError.of(
        "json.type", f"{array.type} has no JSON form", fix="turn the column into text or numbers before"
    )


def each(values: Sequence[Any], turn: Callable[[Any], Any]) -> list[Any]:
    """The values turned one by one; null stays null."""
    return [None if value is None else turn(value) for value in values]


def _encoders() -> Sequence[tuple[Callable[[Any], bool], Callable[[Any], list[Any]]]]:
    from pyarrow import types as is_

    return (
        (lambda kind: is_.is_int64(kind) or is_.is_uint64(kind), _integers_out),
        (is_.is_floating, _floats_out),
        (is_.is_decimal, lambda array: each(array.to_pylist(), lambda value: format(value, "f"))),
        (lambda kind: is_.is_binary(kind) or is_.is_fixed_size_binary(kind), _binary_out),
        (is_.is_duration, _durations_out),
        (lambda kind: is_.is_date(kind) or is_.is_time(kind) or is_.is_timestamp(kind), _times_out),
        (is_.is_struct, _structs_out),
        (is_.is_map, _maps_out),
        (lambda kind: is_.is_list(kind) or is_.is_fixed_size_list(kind), _lists_out),
        (lambda kind: not is_.is_nested(kind) and not is_.is_interval(kind), lambda array: array.to_pylist()),
    )


def _integers_out(array: Any) -> list[Any]:
    import pyarrow.compute as pc

    values: list[Any] = array.to_pylist()
    bounds = pc.min_max(array).as_py()
    if bounds["min"] is None or (bounds["min"] >= -SAFE and bounds["max"] <= SAFE):
        return values
    return each(values, lambda value: value if -SAFE <= value <= SAFE else str(value))


def _floats_out(array: Any) -> list[Any]:
    import pyarrow.compute as pc

    values: list[Any] = array.to_pylist()
    if pc.all(pc.is_finite(array)).as_py() in (True, None):
        return values
    return each(values, _float_word)


def _float_word(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _binary_out(array: Any) -> list[Any]:
    return each(array.to_pylist(), lambda value: base64.b64encode(value).decode())


def _durations_out(array: Any) -> list[Any]:
    import pyarrow as pa

    digits = DIGITS[array.type.unit]
    return each(array.cast(pa.int64()).to_pylist(), lambda value: _duration_word(value, digits))


def _duration_word(value: int, digits: int) -> str:
    seconds, fraction = divmod(abs(value), 10**digits)
    tail = f".{fraction:0{digits}d}".rstrip("0").rstrip(".") if digits else ""
    return f"{'-' if value < 0 else ''}PT{seconds}{tail}S"


def _times_out(array: Any) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    if pa.types.is_date64(array.type):
        array = array.cast(pa.date32())
    text = pc.replace_substring(array.cast(pa.string()), " ", "T")
    cut = pc.replace_substring_regex(text, r"(\.[0-9]*[1-9])0+(Z?)$", r"\1\2")
    values: list[Any] = pc.replace_substring_regex(cut, r"\.0+(Z?)$", r"\1").to_pylist()
    return values


def _structs_out(array: Any) -> list[Any]:
    names = [field.name for field in array.type]
    valid = array.is_valid().to_pylist()
    columns = [json_values(array.field(index)) for index in range(len(names))]
    rows = zip(*columns, strict=True) if columns else ((),) * len(array)
    return [dict(zip(names, row, strict=True)) if there else None for row, there in zip(rows, valid, strict=True)]


def _lists_out(array: Any) -> list[Any]:
    import pyarrow.compute as pc

    items = json_values(array.flatten())
    return _cut(items, pc.list_value_length(array).to_pylist())


def _maps_out(array: Any) -> list[Any]:
    start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
    keys, items = json_values(array.keys[start:stop]), json_values(array.items[start:stop])
    pairs = [[key, item] for key, item in zip(keys, items, strict=True)]
    offsets = array.offsets.to_pylist()
    valid = array.is_valid().to_pylist()
    found = []
    for index, there in enumerate(valid):
        found.append(pairs[offsets[index] - start : offsets[index + 1] - start] if there else None)
    return found


def _cut(items: list[Any], lengths: list[int | None]) -> list[Any]:
    found: list[Any] = []
    start = 0
    for length in lengths:
        found.append(None if length is None else items[start : start + length])
        start += length or 0
    return found
