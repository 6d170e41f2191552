"""Arrow values in DuckDB: nearly all as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataflare_std.sql.statements import quoted
from dataflare_std.sql.target import Misfits
from dataflare_std.sql.times import inexact

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS = 38


def fitted(column: pa.Array) -> pa.Array:
    """The values in a type that DuckDB takes: half floats as floats, decimals of more than 38 digits as text."""
    import pyarrow as pa
    import pyarrow.types as is_

    kind = column.type
    if is_.is_dictionary(kind):
        return fitted(column.dictionary_decode())
    if is_.is_null(kind):
        return column.cast(pa.string())
    if is_.is_float16(kind):
        return column.cast(pa.float32())
    if is_.is_decimal256(kind):
        return column.cast(pa.decimal128(kind.precision, kind.scale) if kind.precision <= DIGITS else pa.string())
    return column


def misfits(column: pa.Array) -> Misfits | None:
    """Rows with a time that is not a whole number of microseconds, where DuckDB keeps those."""
    import pyarrow.compute as pc
    import pyarrow.types as is_

    kind = column.type
    zoned = is_.is_timestamp(kind) and kind.tz is not None
    if zoned or is_.is_duration(kind) or is_.is_time(kind):
        return (
            pc.fill_null(inexact(column), False),
            "sql.out_of_range",
            "is no time that DuckDB keeps, to the microsecond",
        )
    return None


def reading(name: str, kind: str) -> str:
    """How a column is read: spans as microseconds."""
    return f"epoch_us({quoted(name)}) AS {quoted(name)}" if kind == "INTERVAL" else quoted(name)


def as_read(rows: pa.RecordBatch, columns: Mapping[str, str]) -> pa.RecordBatch:
    """What ``reading`` gave, as spans again; instants in UTC by its usual name."""
    import pyarrow as pa

    kinds = {"INTERVAL": pa.duration("us"), "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC")}
    arrays = [
        column.cast(kinds[kind]) if kind in kinds else column
        for column, kind in zip(rows.columns, columns.values(), strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
