"""Rows of every type, of no, one and very many rows, with nulls: what a component is fed beyond its example."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from dataflare.batch import Batch

MANY = 100_000
COLUMN = "x_value"
"""The column of the type that is tried."""


def types() -> dict[str, tuple[Any, list[Any]]]:
    """Name → an Arrow type with values that are at its edges."""
    import pyarrow as pa

    zoned = datetime(2026, 3, 29, 1, 30, 0, 123456, UTC)
    naive = zoned.replace(tzinfo=None)
    span = timedelta(days=1, seconds=2, microseconds=3)
    found: dict[str, tuple[Any, list[Any]]] = {"bool": (pa.bool_(), [True, False])}
    for bits in (8, 16, 32, 64):
        found[f"int{bits}"] = (getattr(pa, f"int{bits}")(), [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1])
        found[f"uint{bits}"] = (getattr(pa, f"uint{bits}")(), [0, 2**bits - 1])
    found["int64 beyond 53 bits"] = (pa.int64(), [2**53 + 1, -(2**53) - 1])
    found |= {
        "float32": (pa.float32(), [0.5, -1.5]),
        "float64": (pa.float64(), [1e300, -0.1]),
        "text": (pa.string(), ["", "a\u0000b \U0001f600 \u00e9"]),
        "large text": (pa.large_string(), ["", '\u4e2d\n\t"']),
        "binary": (pa.binary(), [b"", b"\x00\xff"]),
        "date": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
        "time of day": (pa.time64("us"), [time(0), time(23, 59, 59, 999999)]),
        "timestamp": (pa.timestamp("us"), [naive, datetime(1970, 1, 1)]),
        "timestamp with a zone": (pa.timestamp("us", "UTC"), [zoned, datetime(1969, 12, 31, tzinfo=UTC)]),
        "timestamp in ms": (pa.timestamp("ms", "UTC"), [zoned.replace(microsecond=123000)]),
        "timestamp in ns": (pa.timestamp("ns", "UTC"), [zoned]),
        "duration": (pa.duration("us"), [span, -span]),
        "decimal": (pa.decimal128(38, 9), [Decimal("1.500000000"), Decimal("-99999999999999999999.000000001")]),
        "list": (pa.list_(pa.int64()), [[], [1, None, 2**60]]),
        "list of text": (pa.list_(pa.string()), [["", None], []]),
        "struct": (pa.struct({"a": pa.int32(), "b": pa.string()}), [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
        "nested": (
            pa.list_(pa.struct({"at": pa.timestamp("us", "UTC"), "tags": pa.list_(pa.string())})),
            [[{"at": zoned, "tags": ["a", None]}], []],
        ),
        "map": (pa.map_(pa.string(), pa.int64()), [[("k", 1), ("l", None)], []]),
        "dictionary": (pa.dictionary(pa.int32(), pa.string()), ["red", "green"]),
        "null": (pa.null(), [None]),
    }
    return found


def typed(batch: Batch, name: str) -> Batch:
    """The rows with one more column of a type: its values in turn, then a null."""
    import pyarrow as pa

    kind, values = types()[name]
    several = [*values, None]
    column = pa.array([several[index % len(several)] for index in range(len(batch))], kind)
    return Batch(batch.arrow.append_column(pa.field(COLUMN, kind), column))


def many(batch: Batch, rows: int = MANY) -> Batch:
    """The rows again and again, so many of them."""
    import pyarrow as pa

    indices = pa.array([index % len(batch) for index in range(rows)], pa.int64())
    return Batch(batch.arrow.take(indices))


def with_nulls(batch: Batch) -> Iterator[tuple[str, Batch]]:
    """The rows with one column after the other without a value."""
    import pyarrow as pa

    for index, field in enumerate(batch.schema):
        nulls = pa.nulls(len(batch), field.type)
        yield field.name, Batch(batch.arrow.set_column(index, pa.field(field.name, field.type), nulls))


def cut(batch: Batch, parts: int) -> list[Batch]:
    """The rows in so many batches, in order; some may be missing where there are fewer rows."""
    size = max(1, -(-len(batch) // parts))
    return [Batch(batch.arrow.slice(start, size)) for start in range(0, len(batch), size)]
