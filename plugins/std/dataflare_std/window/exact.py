"""Sums of floating numbers that do not depend on the order of the rows: exact, rounded once at the end.

A float is a whole number times a power of two. Each is added as a 128-bit whole number to one of 64 bins, which
stand 32 powers of two apart: 2^42 rows fit before a bin could overflow. The bins of two sums are simply added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_MANTISSA, _EXPONENTS, _WIDTH = 1 << 52, 1 << 11, 32
_UNIT = 1075
"""A float of exponent e is its mantissa times 2^(e - 1075)."""


def bits_of(values: pl.Series) -> pl.Series:
    """The bits of each float, as a whole number; what is not a finite number is null."""
    import polars as pl
    import pyarrow as pa

    finite = values.cast(pl.Float64).set(~values.is_finite(), None)
    return pl.Series(finite.to_arrow().view(pa.int64()))


def bin_of(bits: pl.Expr) -> pl.Expr:
    """The bin of each value, given its bits."""
    import polars as pl

    return (_exponent(bits) // _WIDTH).cast(pl.Int8)


def whole_of(bits: pl.Expr) -> pl.Expr:
    """Each value as a whole number in the unit of its bin, given its bits."""
    import polars as pl

    fraction = bits % _MANTISSA
    mantissa = pl.when(bits // _MANTISSA % _EXPONENTS > 0).then(fraction + _MANTISSA).otherwise(fraction)
    scale = pl.lit(2, dtype=pl.Int64) ** (_exponent(bits) % _WIDTH)
    return pl.when(bits < 0).then(-mantissa).otherwise(mantissa).cast(pl.Int128) * scale.cast(pl.Int128)


def total(bins: Iterable[tuple[int, int]]) -> float:
    """The float nearest to the sum of all bins: (bin, its sum)."""
    whole = sum(value << (number * _WIDTH) for number, value in bins)
    try:
        return whole / (1 << _UNIT)
    except OverflowError:
        return float("inf") if whole > 0 else float("-inf")


def totals(table: pl.DataFrame, group: Sequence[str], bin: str, whole: str) -> pl.Series:
    """``total`` of each group of a table of bins, in the order of ``table.group_by(group, maintain_order=True)``.

    Bins that stand beside each other, as those of most groups do, are added as whole numbers of 128 bits.
    """
    import polars as pl

    low = table.group_by(group, maintain_order=True).agg(
        pl.col(bin).min().alias("#low"), pl.col(bin).max().alias("#high"), pl.col(whole).abs().max().alias("#most")
    )
    placed = table.join(low, on=list(group), how="left", nulls_equal=True, maintain_order="left")
    shift = pl.when(pl.col(bin) > pl.col("#low")).then(1 << _WIDTH).otherwise(1).cast(pl.Int128)
    summed = placed.group_by(group, maintain_order=True).agg((pl.col(whole) * shift).sum().alias("#sum"), bin, whole)
    low = low.with_columns(summed["#sum"])
    near = (pl.col("#high") - pl.col("#low") < 2) & (pl.col("#most") < 1 << 90) & pl.col("#low").is_between(3, 58)
    scale = pl.lit(2.0) ** (pl.col("#low").cast(pl.Int64) * _WIDTH - _UNIT)
    fast = low.select(pl.when(near).then(pl.col("#sum").cast(pl.Float64) * scale)).to_series()
    left = fast.is_null().arg_true().to_list()
    if not left:
        return fast
    bins, wholes = summed[bin].gather(left).to_list(), summed[whole].gather(left).to_list()
    exact = [total(zip(*pair, strict=True)) for pair in zip(bins, wholes, strict=True)]
    return fast.scatter(left, exact)


def _exponent(bits: pl.Expr) -> pl.Expr:
    """The exponent as it is stored, 1 for numbers so small that they have none."""
    import polars as pl

    return pl.max_horizontal(bits // _MANTISSA % _EXPONENTS, 1)
