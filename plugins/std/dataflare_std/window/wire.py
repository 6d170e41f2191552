"""Columns as JSON values and back, exactly: what keyed state holds of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def to_json(values: pl.Series) -> list[Any]:
    """JSON values: numbers, text and booleans as they are, times as whole numbers, decimals as text, bytes in hex."""
    import polars as pl

    kind = values.dtype
    if kind.is_float():
        found = values.to_list()
        odd = not values.is_finite().all()
        return [str(value) if value is not None and value - value != 0 else value for value in found] if odd else found
    if kind.is_decimal():
        return values.cast(pl.String).to_list()
    if kind == pl.Binary:
        return values.bin.encode("hex").to_list()
    return (values.to_physical() if kind.is_temporal() else values).to_list()


def from_json(name: str, values: Sequence[Any], kind: pl.DataType) -> pl.Series:
    """The column that ``to_json`` was given."""
    import polars as pl

    if kind.is_float():
        return pl.Series(name, [None if value is None else float(value) for value in values], kind)
    if kind.is_decimal():
        return pl.Series(name, values, pl.String).cast(kind)
    if kind == pl.Binary:
        return pl.Series(name, [None if value is None else bytes.fromhex(value) for value in values], kind)
    if kind.is_temporal():
        narrow = pl.Int32 if kind == pl.Date else pl.Int64
        return pl.Series(name, values, narrow).cast(kind)
    return pl.Series(name, values, kind)
