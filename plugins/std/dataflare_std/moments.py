"""Event time in columns: as whole microseconds since 1970, rounded down, whatever their unit and zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dataflare import Problem, Schema
from dataflare_std.expression import unknown_column

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

END_YEAR = 9999
"""The year of a watermark that says: the input has ended."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999, in seconds."""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def micros(time: datetime | float) -> int:
    """A moment, or a duration in seconds."""
    return round(time * 1_000_000) if isinstance(time, (int, float)) else (time - _EPOCH) // timedelta(microseconds=1)


def in_micros(column: str, kind: pl.DataType) -> pl.Expr:
    """A time column of this type as whole numbers."""
    import polars as pl

    if isinstance(kind, pl.Datetime) and kind.time_unit == "ns":
        return pl.col(column).to_physical() // 1_000
    return pl.col(column).cast(pl.Datetime("us")).to_physical()


def nowhere(times: pa.Array) -> pa.Array:
    """Which times are null, or outside of the years 1 to 9999."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_date(times.type):
        times = times.cast(pa.timestamp("s"))
    counts, scale = times.cast(pa.int64()), _PER_SECOND[times.type.unit]
    least, most = max(_FIRST * scale, -(1 << 63)), min(_LAST * scale, (1 << 63) - 1)
    outside = pc.or_(pc.less(counts, least), pc.greater(counts, most))
    return pc.fill_null(outside, True)


def check_time(column: str, schema: Schema, place: str, code: str) -> Iterator[Problem]:
    """What is wrong with a column as the time of an event, if anything is."""
    import pyarrow as pa

    if column not in schema:
        yield unknown_column(column, schema.names, place)
        return
    kind = schema.type(column)
    if not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
        fix = "name a timestamp column; a source can read text as one: `schema: {time: timestamp(utc), …}`"
        yield Problem(code, f"`{column}` is not a time", pointer=place, cause=f"it is {kind}", fix=fix)
