"""Tumbling and sliding windows: rows are counted once in panes, of which every window is made.

A pane is as long as the greatest common measure of ``size`` and ``slide``, so each lies wholly in a window or outside
of it. A row costs the same however many windows it is in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from typing import TYPE_CHECKING

from dataflare_std.window.folds import TIME, Fold
from dataflare_std.window.opened import END, GIVEN, START, Opened

if TYPE_CHECKING:
    import polars as pl

_PANE = "#pane"


class Panes(Opened):
    """Windows of one size."""

    part = _PANE

    def __init__(
        self,
        size: int,
        slide: int,
        keys: Sequence[str],
        folds: Mapping[str, Fold],
        kinds: Mapping[str, pl.DataType],
        closed: int | None,
    ) -> None:
        self.size, self.slide, self.width = size, slide, gcd(size, slide)
        super().__init__(self.width, keys, folds, kinds, closed)

    def last_end(self) -> pl.Expr:
        """The end of the last window of a row."""
        return self._last_end(TIME)

    def add(self, rows: pl.DataFrame) -> None:
        """Into their panes."""
        import polars as pl

        pane = (pl.col(TIME) // self.width * self.width).alias(_PANE)
        self.touch(self.tables.add(rows.with_columns(pane)))

    def ready(self, before: int, until: int) -> bool:
        """Has a pane's first window ended, and does any window end in this time?"""
        if not self.given.height and self._last_until(until) <= self._last_until(before):
            return False
        least = self.tables.main.least(_PANE)
        return least is not None and least + self.width <= until

    def ended(self, before: int, until: int) -> pl.DataFrame:
        """Each pane goes into all its windows that end in this time."""
        import polars as pl

        def windows(rows: pl.DataFrame) -> pl.DataFrame:
            known = pl.max_horizontal(_PANE, pl.col(GIVEN).fill_null(before))
            first = ((known - self.size) // self.slide + 1) * self.slide + self.size
            last = pl.min_horizontal(self._last_end(_PANE), self._last_until(until))
            ends = pl.int_ranges(first, pl.max_horizontal(first, last + 1), self.slide).alias(END)
            return self.with_given(rows).with_columns(ends).explode(END).filter(pl.col(END).is_not_null())

        old = pl.col(_PANE) + self.width <= until
        found = self.tables.results(lambda table: windows(table.rows(old)), [*self.keys, END])
        self.touch(self.tables.main.groups(old))
        self.tables.drop(self._last_end(_PANE) <= until)
        return found.with_columns((pl.col(END) - self.size).alias(START))

    def _last_end(self, column: str) -> pl.Expr:
        import polars as pl

        return pl.col(column) // self.slide * self.slide + self.size

    def _last_until(self, time: int) -> int:
        """The latest end of any window until then."""
        return (time - self.size) // self.slide * self.slide + self.size
