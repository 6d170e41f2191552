"""Tumbling and sliding windows: rows are counted once in panes, of which every window is made.

A pane is as long as the greatest common measure of ``size`` and ``slide``, so each lies wholly in a window or outside
of it. A row costs the same however many windows it is in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from typing import TYPE_CHECKING, Any

from dataflare_std.window.folds import TIME, Fold
from dataflare_std.window.tables import Tables

if TYPE_CHECKING:
    import polars as pl

PANE, END, GIVEN = "#pane", "#end", "#given"
_NEVER, _ALWAYS = -(1 << 62), 1 << 62


class Panes:
    """The open windows of one lane. Times are microseconds since 1970."""

    def __init__(
        self,
        size: int,
        slide: int,
        keys: Sequence[str],
        folds: Mapping[str, Fold],
        kinds: Mapping[str, pl.DataType],
        closed: int | None,
    ) -> None:
        import polars as pl

        self.size, self.slide, self.width = size, slide, gcd(size, slide)
        self.keys = list(keys)
        self.tables = Tables(keys, [PANE], folds, kinds)
        self.closed = _NEVER if closed is None else closed
        """Windows that end until then have given their results."""
        self.given = pl.DataFrame(schema={**{key: kinds[key] for key in keys}, GIVEN: pl.Int64})
        """Keys whose windows have given their results until another time."""

    def last_end(self) -> pl.Expr:
        """The end of the last window of a row."""
        import polars as pl

        return pl.col(TIME) // self.slide * self.slide + self.size

    def start(self) -> pl.Expr:
        """The start of the window that ends at ``END``."""
        import polars as pl

        return pl.col(END) - self.size

    def late(self, rows: pl.DataFrame) -> pl.Series:
        """Which rows are in no window that is still open."""
        import polars as pl

        closed = pl.max_horizontal(GIVEN, self.closed)
        return self._with_given(rows.select(*self.keys, TIME)).select(self.last_end() <= closed).to_series()

    def add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that are not late. Gives their keys, some of them perhaps twice."""
        import polars as pl

        pane = (pl.col(TIME) // self.width * self.width).alias(PANE)
        return self.tables.add(rows.with_columns(pane)).select(self.keys)

    def close(self, until: int) -> pl.DataFrame | None:
        """The results of the windows that end until then and were not given before."""
        import polars as pl

        before, self.closed = self.closed, max(self.closed, until)
        if not self.given.height and self._last_until(until) <= self._last_until(before):
            return None
        if (least := self.tables.main.least(PANE)) is None or least + self.width > until:
            return None
        found = self._closed(before, until)
        self.tables.drop(pl.col(PANE) // self.slide * self.slide + self.size <= until)
        self.given = self.given.filter(pl.col(GIVEN) > until)
        return found

    def close_all(self) -> pl.DataFrame | None:
        """The results of all windows: the input has ended. The next run's rows may be late for them only."""
        import polars as pl

        if self.tables.main.least(PANE) is None:
            return None
        found = self._closed(self.closed, _ALWAYS)
        self.tables.drop(pl.lit(True))
        ends = pl.concat([self.given, found.select(*self.keys, pl.col(END).alias(GIVEN))])
        self.given = ends.group_by(self.keys).agg(pl.col(GIVEN).max())
        return found

    # --- as JSON ------------------------------------------------------------------------------------------

    def dump(self, keys: pl.DataFrame) -> list[dict[str, Any] | None]:
        """For each key its panes, and until when its windows are given; None where nothing is left of it."""
        import polars as pl

        told = self._with_given(keys).select(pl.max_horizontal(GIVEN, self.closed)).to_series().to_list()
        return [
            {"given": until, "panes": panes} if panes or until > self.closed else None
            for until, panes in zip(told, self.tables.dump(keys), strict=True)
        ]

    def load(self, keys: pl.DataFrame, values: Sequence[dict[str, Any]]) -> None:
        """Take over what ``dump`` gave."""
        import polars as pl

        panes = [pane for value in values for pane in value["panes"]]
        places = [place for place, value in enumerate(values) for _ in value["panes"]]
        self.tables.load(keys[places], panes)
        given = pl.Series(GIVEN, [value["given"] for value in values], pl.Int64)
        self.given = keys.with_columns(given).filter(pl.col(GIVEN) != self.closed)

    def _closed(self, before: int, until: int) -> pl.DataFrame:
        import polars as pl

        def windows(rows: pl.DataFrame) -> pl.DataFrame:
            known = pl.max_horizontal(PANE, pl.col(GIVEN).fill_null(before))
            first = ((known - self.size) // self.slide + 1) * self.slide + self.size
            last = pl.min_horizontal(pl.col(PANE) // self.slide * self.slide + self.size, self._last_until(until))
            ends = pl.int_ranges(first, pl.max_horizontal(first, last + 1), self.slide).alias(END)
            return self._with_given(rows).with_columns(ends).explode(END).filter(pl.col(END).is_not_null())

        return self.tables.results(pl.col(PANE) + self.width <= until, windows, [*self.keys, END])

    def _last_until(self, time: int) -> int:
        """The latest end of any window until then."""
        return (time - self.size) // self.slide * self.slide + self.size

    def _with_given(self, rows: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        if not self.given.height:
            return rows.with_columns(pl.lit(None, pl.Int64).alias(GIVEN))
        return rows.join(self.given, on=self.keys, how="left", nulls_equal=True, maintain_order="left")
