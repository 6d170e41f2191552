"""Arrow columns as Polars columns and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


def series_of(name: str, column: pa.Array) -> pl.Series:
    """An Arrow column as a series; a dictionary's as its values."""
    import polars as pl
    import pyarrow as pa

    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return pl.Series(name, pl.from_arrow(plain))


def array_of(series: pl.Series, kind: pa.DataType) -> pa.Array:
    """A series as an Arrow column of this type."""
    import polars as pl

    array = series.to_arrow(compat_level=pl.CompatLevel.oldest())
    return array if array.type == kind else array.cast(kind)
