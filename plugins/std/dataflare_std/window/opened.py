"""Open windows of one lane, whatever their shape: what is late, what is over, and what the state holds of each key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflare_std.window.folds import TIME, Fold
from dataflare_std.window.tables import Tables

if TYPE_CHECKING:
    import polars as pl

START, END, GIVEN = "#start", "#end", "#given"
NEVER, ALWAYS = -(1 << 62), 1 << 62


class Opened(ABC):
    """The open windows of one lane. Times are microseconds since 1970."""

    part: str
    """The column that tells the groups of a key apart."""

    def __init__(
        self, keys: Sequence[str], folds: Mapping[str, Fold], kinds: Mapping[str, pl.DataType], closed: int | None
    ) -> None:
        import polars as pl

        self.keys = list(keys)
        self.tables = Tables(keys, self.part, folds, kinds)
        self.closed = NEVER if closed is None else closed
        """Windows that end until then have given their results."""
        self.given = pl.DataFrame(schema={**{key: kinds[key] for key in keys}, GIVEN: pl.Int64})
        """Keys whose windows have given their results until another time."""

    @abstractmethod
    def last_end(self) -> pl.Expr:
        """The end of the last window that a row is in, for all that it tells itself."""

    @abstractmethod
    def add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that are not late. Gives their keys, some of them perhaps twice."""

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
        if not self.ready(before, until):
            return None
        found = self.ended(before, until)
        self.given = self.given.filter(pl.col(GIVEN) > until)
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

    def dump(self, keys: pl.DataFrame) -> list[dict[str, Any] | None]:
        """For each key what is open, and until when its windows are given; None where nothing is left of it."""
        import polars as pl

        told = self.with_given(keys).select(pl.max_horizontal(GIVEN, self.closed)).to_series().to_list()
        return [
            {"given": until, "open": groups} if groups or until > self.closed else None
            for until, groups in zip(told, self.tables.dump(keys), strict=True)
        ]

    def load(self, keys: pl.DataFrame, values: Sequence[dict[str, Any]]) -> None:
        """Take over what ``dump`` gave."""
        import polars as pl

        groups = [group for value in values for group in value["open"]]
        places = [place for place, value in enumerate(values) for _ in value["open"]]
        self.tables.load(keys[places], groups)
        given = pl.Series(GIVEN, [value["given"] for value in values], pl.Int64)
        self.given = keys.with_columns(given).filter(pl.col(GIVEN) != self.closed)
