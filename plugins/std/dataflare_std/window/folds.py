"""Aggregate functions computed in parts: of a batch's rows, merged part by part, finished for a window.

What every function keeps for a group stands in one row of the table of groups. A function that needs more than
fixed columns (distinct values, exact sums of floats) has a table of its own, by group and item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflare_std.window import exact
from dataflare_std.window.parse import Function

if TYPE_CHECKING:
    import polars as pl

TIME = "#time"
"""The column with the event time, in microseconds since 1970."""
ITEM = "#item"
Exprs = Mapping[str, "pl.Expr"]


@dataclass(frozen=True)
class Items:
    """A function's own table: an item and merged columns for each group and item."""

    rows: Callable[[pl.DataFrame], list[pl.Series]]
    """Of a batch: the item of each row (null: none), then what ``first`` reads."""
    first: Exprs
    merge: Exprs
    close: Callable[[pl.DataFrame, Sequence[str]], pl.DataFrame]
    """Of the merged table and the columns that make a group: one row a group, with the column that ``result`` reads."""


@dataclass(frozen=True)
class Fold:
    """One function in parts. Raises nothing: types were looked at before."""

    first: Exprs = field(default_factory=dict)
    """Column → what it is of the rows of one group."""
    merge: Exprs = field(default_factory=dict)
    """Column → what it is of several rows of that column."""
    result: pl.Expr | None = None
    items: Items | None = None


class Unfit(Exception):
    """A function cannot work on a type; the text says what it needs."""


def fold(column: str, function: Function, kind: pl.DataType) -> Fold:
    """The parts of a function whose argument is of this type; its result is ``column``. Raises Unfit."""
    import polars as pl

    value = pl.col(function.argument or "")
    if function.kind == "rows":
        return _added(column, pl.len().cast(pl.Int64))
    if function.kind == "count":
        return _added(column, value.count().cast(pl.Int64))
    if kind.is_nested() or kind in (pl.Null, pl.Object):
        raise Unfit("single values, not lists or structs")
    if function.kind == "distinct":
        return _distinct(column, function)
    if function.kind in ("min", "max"):
        return _extreme(column, function.kind, _plain(value, kind))
    if function.kind in ("first", "last"):
        return _nearest(column, value, function.kind == "first")
    if function.kind in ("sum", "avg"):
        return _sum(column, function, value, kind)
    raise Unfit("to be computed from merged parts")


def _added(column: str, first: pl.Expr) -> Fold:
    import polars as pl

    return Fold({column: first}, {column: pl.col(column).sum()}, pl.col(column))


def _extreme(column: str, kind: str, value: pl.Expr) -> Fold:
    import polars as pl

    own = pl.col(column)
    if kind == "min":
        return Fold({column: value.min()}, {column: own.min()}, own)
    return Fold({column: value.max()}, {column: own.max()}, own)


def _nearest(column: str, value: pl.Expr, first: bool) -> Fold:
    """The value of the earliest (latest) row that has one; of several at that time the smallest (largest)."""
    import polars as pl

    time = f"{column}.time"

    def at(value: pl.Expr, time: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
        there = value.is_not_null()
        ordered = value.filter(there).sort_by(time.filter(there), value.filter(there))
        end = time.filter(there)
        return (ordered.first(), end.min()) if first else (ordered.last(), end.max())

    made, merged = at(value, pl.col(TIME)), at(pl.col(column), pl.col(time))
    return Fold({column: made[0], time: made[1]}, {column: merged[0], time: merged[1]}, pl.col(column))


def _sum(column: str, function: Function, value: pl.Expr, kind: pl.DataType) -> Fold:
    """Exact for every kind of number; only the result is rounded."""
    import polars as pl

    mean, count = function.kind == "avg", f"{column}.count"
    if kind.is_float():
        made = _float_sum(column, function.argument or "")
    elif kind.is_decimal():
        made = _added(column, value.sum())
    elif kind.is_integer() or kind == pl.Boolean:
        made = _added(column, value.cast(pl.Int128).sum())
    elif isinstance(kind, pl.Duration):
        made = _added(column, value.to_physical().cast(pl.Int128).sum())
    else:
        raise Unfit("numbers")
    assert made.result is not None
    if mean:
        number = made.result.cast(pl.Float64) / pl.when(pl.col(count) > 0).then(pl.col(count))
        result = number.round().cast(pl.Int64).cast(kind) if isinstance(kind, pl.Duration) else number
        counted = {**made.first, count: value.count().cast(pl.Int64)}
        return Fold(counted, {**made.merge, count: pl.col(count).sum()}, result, made.items)
    if kind.is_float() or kind.is_decimal():
        return made
    narrow = pl.UInt64 if kind == pl.UInt64 else pl.Int64
    result = made.result.cast(narrow)
    return Fold(made.first, made.merge, result.cast(kind) if isinstance(kind, pl.Duration) else result)


def _float_sum(column: str, argument: str) -> Fold:
    """Infinities and what is not a number in a column of the group, all others exactly in bins."""
    import polars as pl

    value, bits, whole = pl.col(argument).cast(pl.Float64), f"{column}.bits", f"{column}.whole"

    def rows(frame: pl.DataFrame) -> list[pl.Series]:
        made = pl.DataFrame({bits: exact.bits_of(frame[argument])})
        own = pl.col(bits)
        given = made.select(
            exact.bin_of(own).alias(ITEM), pl.when(own.is_not_null()).then(exact.whole_of(own)).alias(whole)
        )
        return given.get_columns()

    def close(table: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        groups = table.group_by(group, maintain_order=True).agg()
        return groups.with_columns(exact.totals(table, group, ITEM, whole).alias(f"{column}.total"))

    odd, total = pl.col(column), pl.col(f"{column}.total").fill_null(0.0)
    items = Items(rows, {whole: pl.col(whole).sum()}, {whole: pl.col(whole).sum()}, close)
    first = value.filter(~value.is_finite()).sum()
    return Fold({column: first}, {column: odd.sum()}, pl.when(odd.is_finite()).then(total).otherwise(odd), items)


def _distinct(column: str, function: Function) -> Fold:
    import polars as pl

    argument, count = function.argument or "", f"{column}.rows"

    def rows(frame: pl.DataFrame) -> list[pl.Series]:
        values = frame[argument]
        return [(values + 0.0 if values.dtype.is_float() else values).alias(ITEM)]

    def close(table: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        return table.group_by(group).agg(pl.len().cast(pl.Int64).alias(f"{column}.distinct"))

    items = Items(rows, {count: pl.len().cast(pl.Int64)}, {count: pl.col(count).sum()}, close)
    return Fold(result=pl.col(f"{column}.distinct").fill_null(0), items=items)


def _plain(value: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """The two zeros are one, whichever comes first."""
    return value + 0.0 if kind.is_float() else value


def shape_of(table: Items, kinds: Mapping[str, Any]) -> Mapping[str, pl.DataType]:
    """The types of a table's item and columns, for arguments of these types."""
    import polars as pl

    frame = pl.DataFrame(schema=dict(kinds))
    rows = pl.DataFrame(table.rows(frame))
    return dict(rows.group_by(ITEM).agg(**table.first).schema)
