"""Arrow types in PostgreSQL: the column that holds them, and which values it cannot hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflare_std.sql.target import Misfits
from dataflare_std.sql.times import inexact, microseconds

if TYPE_CHECKING:
    import pyarrow as pa

DAY_ONE = 10_957
"""Days from 1970 to 2000, where PostgreSQL's dates begin."""
FIRST_DAY, LAST_DAY = -2_451_545 + DAY_ONE, 2_145_031_948 + DAY_ONE
FIRST_INSTANT = -210_866_803_200_000_000
"""4714 BC, in microseconds since 1970."""


def declared(kind: pa.DataType) -> str:
    """The column type that holds all values of an Arrow type, or nearly all (``misfits``)."""
    import pyarrow.types as is_

    if is_.is_dictionary(kind):
        return declared(kind.value_type)
    if is_.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})" if 0 <= kind.scale <= kind.precision else "numeric"
    if is_.is_timestamp(kind):
        return "timestamp without time zone" if kind.tz is None else "timestamp with time zone"
    for is_kind, name in (
        (is_.is_boolean, "boolean"),
        (is_.is_uint64, "numeric(20,0)"),
        (lambda kind: is_.is_integer(kind) and integer_width(kind) == 2, "smallint"),
        (lambda kind: is_.is_integer(kind) and integer_width(kind) == 4, "integer"),
        (is_.is_integer, "bigint"),
        (is_.is_float64, "double precision"),
        (is_.is_floating, "real"),
        (is_bytes, "bytea"),
        (is_.is_date, "date"),
        (is_.is_time, "time without time zone"),
        (is_.is_duration, "interval"),
        (is_.is_nested, "jsonb"),
    ):
        if is_kind(kind):
            return name
    return "text"


def integer_width(kind: pa.DataType) -> int:
    """How many bytes a whole number takes there, which has no unsigned ones."""
    import pyarrow.types as is_

    width = int(kind.bit_width) // 8
    return max(2, width * 2 if is_.is_unsigned_integer(kind) else width)


def is_bytes(kind: pa.DataType) -> bool:
    """Bytes of any kind."""
    import pyarrow.types as is_

    return bool(
        is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind) or is_.is_binary_view(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Text of any kind."""
    import pyarrow.types as is_

    return bool(is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind))


def misfits(column: pa.Array) -> Misfits | None:
    """Rows whose value the column's type cannot hold; None if there can be none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as is_

    from dataflare_std.sql.json_text import json_text

    kind = column.type
    if is_.is_dictionary(kind):
        return misfits(column.dictionary_decode())
    if is_text(kind):
        return _mask(pc.match_substring(column, "\0")), "sql.nul", "holds a NUL character, which no text there may"
    if is_.is_nested(kind):
        return _mask(pc.match_substring(json_text(column), "\\u0000")), "sql.nul", "holds a NUL character"
    if is_.is_date(kind):
        days = column.cast(pa.date32()).cast(pa.int32())
        outside = pc.or_(pc.less(days, FIRST_DAY), pc.greater(days, LAST_DAY))
        return _mask(outside), "sql.out_of_range", "is a date that PostgreSQL does not know"
    if is_.is_timestamp(kind) or is_.is_duration(kind) or is_.is_time(kind):
        wrong = inexact(column)
        if is_.is_timestamp(kind):
            wrong = pc.or_(wrong, pc.less(microseconds(column), FIRST_INSTANT))
        return _mask(wrong), "sql.out_of_range", "is no time that PostgreSQL keeps, to the microsecond"
    return None


def _mask(found: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.fill_null(found, False)
