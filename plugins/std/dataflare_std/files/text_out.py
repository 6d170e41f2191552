"""Rows as JSON lines and CSV."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any

from dataflare_std.files.parsing import list_of

if TYPE_CHECKING:
    import polars
    import pyarrow as pa

_FEW = 100
_FRACTION = r"(\.\d*?[1-9])0+(Z?)$|\.0+(Z?)$"


def json_lines(rows: pa.RecordBatch) -> bytes:
    """One object a line, in the JSON forms of ``dataflare.json_rows``, but whole numbers as numbers however large."""
    if not rows.schema.names:
        return b"{}\n" * int(rows.num_rows)
    frame = json_frame(rows)
    if frame is None:
        return _in_python(rows.schema.names, [as_plain(column) for column in rows.columns])
    out = io.BytesIO()
    frame.write_ndjson(out)
    return out.getvalue()


def json_frame(rows: pa.RecordBatch) -> polars.DataFrame | None:
    """The frame whose ``write_ndjson`` gives the JSON lines of these rows; None where Polars writes them otherwise."""
    if rows.num_rows <= _FEW or not rows.schema.names:
        return None
    plain = [as_plain(column) for column in rows.columns]
    if not all(map(_polars_writes, plain)):
        return None
    import polars
    import pyarrow as pa

    return polars.DataFrame(pa.RecordBatch.from_arrays(plain, names=rows.schema.names))


def csv_rows(rows: pa.RecordBatch, delimiter: str) -> bytes:
    """One row a line, no header; a null is nothing, an empty text is ``""``."""
    import polars
    import pyarrow as pa

    plain = [_finite_text(as_plain(column)) for column in rows.columns]
    out = io.BytesIO()
    frame = polars.DataFrame(pa.RecordBatch.from_arrays(plain, names=rows.schema.names))
    frame.write_csv(out, include_header=False, separator=delimiter)
    return out.getvalue()


def csv_header(names: list[str], delimiter: str) -> bytes:
    """The header row."""
    import csv

    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerow(names)
    return out.getvalue().encode()


def as_plain(array: pa.Array) -> pa.Array:
    """The values with times, decimals and bytes as text, also inside lists and structs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_, kind = pa.types, array.type
    if is_.is_dictionary(kind):
        return as_plain(array.dictionary_decode())
    if is_.is_struct(kind):
        parts = [as_plain(part) for part in array.flatten()]
        if not parts:
            return array
        return pa.StructArray.from_arrays(parts, names=[field.name for field in kind], mask=array.is_null())
    if is_.is_list(kind) or is_.is_large_list(kind):
        return list_of(array, as_plain(array.values))
    if is_.is_fixed_size_list(kind):
        return as_plain(array.cast(pa.list_(kind.value_type)))
    if is_.is_timestamp(kind):
        instant = array if kind.tz is None else array.cast(pa.timestamp(kind.unit, "UTC"))
        text = pc.replace_substring(instant.cast(pa.string()), " ", "T", max_replacements=1)
        return pc.replace_substring_regex(text, _FRACTION, r"\1\2\3")
    if is_.is_time(kind):
        return pc.replace_substring_regex(array.cast(pa.string()), _FRACTION, r"\1\2\3")
    if is_.is_date(kind):
        return array.cast(pa.date32()).cast(pa.string())
    if is_.is_decimal(kind):
        return array.cast(pa.string())
    if is_.is_float16(kind):
        return array.cast(pa.float32())
    if is_.is_large_string(kind) or is_.is_string_view(kind):
        return array.cast(pa.string())
    return _rare(array)


def _rare(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    is_, kind = pa.types, array.type
    if is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind) or is_.is_duration(kind):
        from dataflare.json_rows import json_values

        return pa.array(json_values(array), pa.string())
    return array


def _polars_writes(array: pa.Array) -> bool:
    """True if Polars writes these values as they are: it would make NaN and infinities null, and knows no maps."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(array.type):
        return array.type.num_fields > 0 and all(map(_polars_writes, array.flatten()))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return _polars_writes(array.flatten())
    if pa.types.is_floating(array.type):
        return bool(pc.all(pc.is_finite(array), min_count=0).as_py() is not False)
    return not pa.types.is_map(array.type)


def _in_python(names: list[str], columns: list[pa.Array]) -> bytes:
    lines = [
        json.dumps(_finite(dict(zip(names, row, strict=True))), ensure_ascii=False, separators=(",", ":"))
        for row in zip(*[column.to_pylist() for column in columns], strict=True)
    ]
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return value


def _finite_text(array: pa.Array) -> pa.Array:
    """Nulls of a column without a type as text, which CSV writers know."""
    import pyarrow as pa

    return array.cast(pa.string()) if pa.types.is_null(array.type) else array
