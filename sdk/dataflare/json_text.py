"""Batches as JSON text, column by column in Arrow: what ``json_rows`` gives, without a Python object a value.

Each column becomes a column of JSON fragments, a row is their concatenation. Types that this does not know, and texts
that need escaping, become fragments one by one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dataflare.json_values import SAFE, json_values

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.batch import Batch

_ESCAPED = r'["\\\x00-\x1f\x7f]'
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def json_text(batch: Batch) -> bytes:
    """The rows as one JSON array, UTF-8. Raises ConfigError (``json.type``) for intervals."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrow = batch.arrow
    if not len(batch):
        return b"[]"
    if not arrow.num_columns:
        return b"[" + b",".join([b"{}"] * len(batch)) + b"]"
    pieces: list[Any] = []
    for index, (name, column) in enumerate(zip(arrow.schema.names, arrow.columns, strict=True)):
        pieces += [("," if index else "{") + _encode(name) + ":", _fragments(column)]
    rows = pc.binary_join_element_wise(*map(_text, pieces), _text("}"), _text(""))
    whole = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows)
    joined = pc.binary_join(whole, ",")
    return b"[" + memoryview(joined.buffers()[2])[: _length(joined)] + b"]"


def _length(joined: Any) -> int:
    import struct

    found: int = struct.unpack_from("<i", joined.buffers()[1], 4)[0]
    return found


def _text(piece: Any) -> Any:
    import pyarrow as pa

    return pa.scalar(piece, pa.string()) if isinstance(piece, str) else piece


def _fragments(array: pa.Array) -> pa.StringArray:
    """The JSON text of each value; ``null`` where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_ = pa.types
    made: Any = None
    if is_.is_boolean(array.type) or _is_safe(array):
        made = array.cast(pa.string())
    elif is_.is_floating(array.type) and _is_finite(array):
        made = array.cast(pa.float64()).cast(pa.string())
    elif is_.is_string(array.type) or is_.is_large_string(array.type):
        made = _quoted(array.cast(pa.string()))
    elif is_.is_date32(array.type) or is_.is_timestamp(array.type):
        made = _quoted(pa.array(json_values(array), pa.string()))
    elif is_.is_struct(array.type) and array.type.num_fields:
        made = _structs(array)
    elif is_.is_list(array.type):
        made = _lists(array)
    if made is None:
        return pa.array([_encode(value) for value in json_values(array)], pa.string())
    return pc.coalesce(made, pa.scalar("null"))


def _is_safe(array: Any) -> bool:
    """Whole numbers that every reader of JSON keeps exactly."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(array.type):
        return False
    bounds = pc.min_max(array).as_py()
    return bounds["min"] is None or bool(bounds["min"] >= -SAFE and bounds["max"] <= SAFE)


def _is_finite(array: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_float16(array.type):
        return False
    return pc.all(pc.is_finite(array)).as_py() in (True, None)


def _quoted(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(array, _ESCAPED)).as_py():
        return pa.array([None if value is None else _encode(value) for value in array.to_pylist()], pa.string())
    return pc.binary_join_element_wise(_text('"'), array, _text('"'), _text(""))


def _structs(array: Any) -> Any:
    import pyarrow.compute as pc

    pieces: list[Any] = []
    for index, (field, column) in enumerate(zip(array.type, array.flatten(), strict=True)):
        pieces += [("," if index else "{") + _encode(field.name) + ":", _fragments(column)]
    made = pc.binary_join_element_wise(*map(_text, pieces), _text("}"), _text(""))
    return pc.if_else(pc.is_valid(array), made, _text("null"))


def _lists(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.null_count:
        return None
    offsets = pc.subtract(array.offsets, array.offsets[0])
    items = pa.ListArray.from_arrays(offsets, _fragments(array.flatten()))
    return pc.binary_join_element_wise(_text("["), pc.binary_join(items, ","), _text("]"), _text(""))
