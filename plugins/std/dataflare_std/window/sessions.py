"""Session windows: a session takes what comes within ``gap`` of it, and two that a row joins become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dataflare_std.window.folds import TIME, Fold
from dataflare_std.window.opened import END, START, Opened

if TYPE_CHECKING:
    import polars as pl

_OLD, _ROWS = "#old", "#rows"


class Sessions(Opened):
    """Windows that end when nothing came for a while. A session ends ``gap`` after its last row."""

    part = START

    def __init__(
        self,
        gap: int,
        keys: Sequence[str],
        folds: Mapping[str, Fold],
        kinds: Mapping[str, pl.DataType],
        closed: int | None,
    ) -> None:
        import polars as pl

        end = Fold({END: pl.col(TIME).max() + gap}, {END: pl.col(END).max()}, pl.col(END))
        super().__init__(gap, keys, {**folds, END: end}, kinds, closed)
        self.gap = gap

    def last_end(self) -> pl.Expr:
        """The end of the session of a row alone."""
        import polars as pl

        return pl.col(TIME) + self.gap

    def add(self, rows: pl.DataFrame) -> None:
        """Into the sessions that they touch, and that become one with others by it."""
        import polars as pl

        ordered = rows.sort(*self.keys, TIME)
        number = _cut(pl.col(TIME) >= pl.col(TIME).shift(1) + self.gap, self.keys).alias(_ROWS)
        ordered = ordered.with_columns(number)
        found = ordered.group_by(_ROWS, maintain_order=True).agg(
            pl.col(self.keys).first(), pl.col(TIME).min().alias(START), (pl.col(TIME).max() + self.gap).alias(END)
        )
        keys = found.select(self.keys).unique()
        held = self.tables.main.of(keys).select(*self.keys, START, END)
        united = self._united(found, held)
        starts = united.filter(pl.col(_ROWS).is_not_null()).sort(_ROWS)[START]
        moved = united.filter(pl.col(_OLD).is_not_null() & (pl.col(_OLD) != pl.col(START)))
        if moved.height:
            moves = moved.select(*self.keys, pl.col(_OLD).alias(START), pl.col(START).alias(_OLD))
            self.tables.move(moves, _OLD)
            self.touch(moves)
        self.touch(self.tables.add(ordered.with_columns(starts.gather(ordered[_ROWS]).alias(START))))

    def ready(self, before: int, until: int) -> bool:
        """Has a session ended, for all that its oldest part tells?"""
        least = self.tables.main.least(END)
        return least is not None and least <= until

    def ended(self, before: int, until: int) -> pl.DataFrame:
        """The sessions that are over, and gone."""
        import polars as pl

        over = self.tables.main.rows().filter(pl.col(END) <= until).select(*self.keys, START)
        found = self.tables.results(lambda table: table.of(over), [*self.keys, START])
        self.touch(over)
        self.tables.drop_groups(over)
        return found

    def _united(self, found: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
        """Sessions of a batch and those held, each with the start of the one that it becomes a part of."""
        import polars as pl

        both = pl.concat(
            [
                found.select(*self.keys, START, END, _ROWS, pl.lit(None, pl.Int64).alias(_OLD)),
                held.select(
                    *self.keys, START, END, pl.lit(None, found.schema[_ROWS]).alias(_ROWS), pl.col(START).alias(_OLD)
                ),
            ]
        ).sort(*self.keys, START)
        reached = both.with_columns(pl.col(END).cum_max().over(self.keys).alias("#reached"))
        number = _cut(pl.col(START) >= pl.col("#reached").shift(1), self.keys).alias("#number")
        return reached.with_columns(number).with_columns(pl.col(START).min().over("#number"))


def _cut(apart: pl.Expr, keys: Sequence[str]) -> pl.Expr:
    """Numbers rows in the order of key and time, one more where a row stands apart from the one before."""
    import polars as pl

    # the first row of a key has none before it, so `apart` is null there
    return apart.over(keys).fill_null(True).cum_sum().cast(pl.Int64) - 1
