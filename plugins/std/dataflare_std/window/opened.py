"""Open windows of one lane, whatever their shape: what is late, what is over, and what the state holds of each key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflare_std.window.folds import TIME, Fold
from dataflare_std.window.tables import STRETCH, Tables

if TYPE_CHECKING:
    import polars as pl

START, END, GIVEN = "#start", "#end", "#given"
NEVER, ALWAYS = -(1 << 62), 1 << 62
_GROUPS = 64
"""Units of time of one stretch."""


class Opened(ABC):
    """The open windows of one lane. Times are microseconds since 1970."""

    part: str
    """The column that tells the groups of a key apart."""

    def __init__(
        self,
        unit: int,
        keys: Sequence[str],
        folds: Mapping[str, Fold],
        kinds: Mapping[str, pl.DataType],
        closed: int | None,
    ) -> None:
        """``unit``: how far two parts of a key are apart at least, or may be."""
        import polars as pl

        self.unit, self.keys = unit, list(keys)
        self.tables = Tables(keys, self.part, folds, kinds)
        self.closed = NEVER if closed is None else closed
        """Windows that end until then have given their results."""
        self._touched: list[pl.DataFrame] = []
        self.given = pl.DataFrame(schema={**{key: kinds[key] for key in keys}, GIVEN: pl.Int64})
        """Keys whose windows have given their results until another time."""

    @abstractmethod
    def last_end(self) -> pl.Expr:
        """The end of the last window that a row is in, for all that it tells itself."""

    @abstractmethod
    def add(self, rows: pl.DataFrame) -> None:
        """Rows that are not late."""

    @abstractmethod
    def ready(self, before: int, until: int) -> bool:
        """May a window end in this time?"""

    @abstractmethod
    def ended(self, before: int, until: int) -> pl.DataFrame:
        """The results of the windows that end until then and were not given ``before``; what is over is dropped."""

    def late(self, rows: pl.DataFrame) -> pl.Series:
        """Which rows are in no window that is still open."""
        import polars as pl

        closed = pl.max_horizontal(GIVEN, self.closed)
        return self.with_given(rows.select(*self.keys, TIME)).select(self.last_end() <= closed).to_series()

    def close(self, until: int) -> pl.DataFrame | None:
        """The results of the windows that end until then and were not given before."""
        import polars as pl

        before, self.closed = self.closed, max(self.closed, until)
        found = self.ended(before, until) if self.ready(before, until) else None
        self.given = self.given.filter(pl.col(GIVEN) > until)
        return found

    def catch_up(self) -> pl.DataFrame | None:
        """The results of windows that were held and ended before this run: before rows come that are late for them."""
        import polars as pl

        ahead = pl.col(GIVEN) > self.closed
        if self.given.select(ahead.all()).item():
            return None
        found = self.ended(self.closed, self.closed) if self.ready(self.closed, self.closed) else None
        self.given = self.given.filter(ahead)
        return found

    def close_all(self) -> pl.DataFrame | None:
        """The results of all windows: the input has ended. Rows of a next run may be late for these."""
        import polars as pl

        if not self.ready(self.closed, ALWAYS):
            return None
        found = self.ended(self.closed, ALWAYS)
        ends = pl.concat([self.given, found.select(*self.keys, pl.col(END).alias(GIVEN))])
        self.given = ends.group_by(self.keys).agg(pl.col(GIVEN).max())
        return found

    def with_given(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the time until when their key's windows are given, null where that is ``closed``."""
        import polars as pl

        if not self.given.height:
            return rows.with_columns(pl.lit(None, pl.Int64).alias(GIVEN))
        return rows.join(self.given, on=self.keys, how="left", nulls_equal=True, maintain_order="left")

    # --- as JSON ------------------------------------------------------------------------------------------

    def touch(self, groups: pl.DataFrame) -> None:
        """These groups have changed, or are gone."""
        self._touched.append(groups.select(*self.keys, self._stretch().alias(STRETCH)).unique())

    def changes(self) -> Iterator[tuple[str, pl.DataFrame, list[dict[str, Any] | None]]]:
        """What changed since the last time, by stretches of time: keys, and what each has of it; None: nothing.

        A key is cut into stretches so that one with many open windows is not written as a whole when one changes.
        """
        import polars as pl

        if not self._touched:
            return
        wanted = pl.concat(self._touched).unique().sort(STRETCH)
        self._touched = []
        told = self.with_given(wanted).select(pl.max_horizontal(GIVEN, self.closed)).to_series()
        values = [
            {"given": until, "open": held} if held or until > self.closed else None
            for until, held in zip(told.to_list(), self.tables.dump(wanted, self._stretch()), strict=True)
        ]
        for (stretch,), rows in wanted.with_row_index("#at").group_by(STRETCH, maintain_order=True):
            yield str(stretch), rows.select(self.keys), [values[at] for at in rows["#at"].to_list()]

    def load(self, stretch: str, keys: pl.DataFrame, values: Sequence[dict[str, Any]]) -> None:
        """Take over what ``changes`` gave; what no row can come late for any more is to be forgotten."""
        import polars as pl

        held = [row for row, value in enumerate(values) if value["open"]]
        if held:
            self.tables.load(keys[held], [values[row]["open"] for row in held])
        over = pl.Series([not value["open"] and value["given"] <= self.closed for value in values], dtype=pl.Boolean)
        self._touched.append(keys.filter(over).with_columns(pl.lit(int(stretch)).cast(pl.Int64).alias(STRETCH)))
        given = keys.with_columns(pl.Series(GIVEN, [value["given"] for value in values], pl.Int64))
        # Of several stretches the latest counts: only those whose windows gave something then were written.
        self.given = pl.concat([self.given, given]).group_by(self.keys).agg(pl.col(GIVEN).max())

    def _stretch(self) -> pl.Expr:
        import polars as pl

        return pl.col(self.part) // (self.unit * _GROUPS)
