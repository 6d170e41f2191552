"""Times, instants and durations as whole microseconds, which is what databases keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def microseconds(column: pa.Array) -> pa.Array:
    """Times as whole microseconds; what does not fit is cut or wraps around."""
    import pyarrow as pa
    import pyarrow.types as is_

    kind = column.type
    if is_.is_time(kind):
        return column.cast(pa.time64("us"), safe=False).cast(pa.int64())
    wanted = pa.duration("us") if is_.is_duration(kind) else pa.timestamp("us", kind.tz)
    return column.cast(wanted, safe=False).cast(pa.int64())


def inexact(column: pa.Array) -> pa.Array:
    """Which times are not the same in whole microseconds, or beyond them; null where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as is_

    micros = microseconds(column)
    given = column.view(pa.int32()).cast(pa.int64()) if is_.is_time32(column.type) else column.view(pa.int64())
    factor = {"s": 1_000_000, "ms": 1_000, "us": 1}.get(column.type.unit)
    return pc.not_equal(pc.divide(micros, factor) if factor else pc.multiply(micros, 1_000), given)
