"""Tables of merged parts: what they hold of each group, in a few frames of falling size.

A batch is a frame of its own at first; two neighbours become one when they are of like size. So a row is merged a few
times, however many groups there are and however small the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


class Ledger:
    """One table: rows by ``group`` columns; rows of one group are merged."""

    def __init__(self, group: Sequence[str], merge: Mapping[str, pl.Expr], schema: Mapping[str, pl.DataType]) -> None:
        import polars as pl

        self.group = list(group)
        self._merge = dict(merge)
        self._empty = pl.DataFrame(schema=dict(schema))
        self._frames: list[pl.DataFrame] = []

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Column → type."""
        return dict(self._empty.schema)

    def add(self, rows: pl.DataFrame) -> None:
        """Merge rows in; each group stands in them once."""
        if not rows.height:
            return
        self._frames.append(rows.select(self._empty.columns))
        while len(self._frames) > 1 and self._frames[-1].height * 2 > self._frames[-2].height:
            self._frames[-2:] = [self._united(self._frames[-2:])]

    def rows(self, where: pl.Expr | None = None) -> pl.DataFrame:
        """The merged rows, of groups that fulfil a condition."""
        return self._united(self._frames if where is None else [frame.filter(where) for frame in self._frames])

    def groups(self, where: pl.Expr) -> pl.DataFrame:
        """The groups that fulfil a condition, some of them perhaps several times."""
        import polars as pl

        return pl.concat(frame.filter(where).select(self.group) for frame in (self._empty, *self._frames))

    def of(self, groups: pl.DataFrame) -> pl.DataFrame:
        """The merged rows of these groups (rows of some of the group columns)."""
        on = groups.columns
        return self._united([frame.join(groups, on=on, how="semi", nulls_equal=True) for frame in self._frames])

    def drop(self, where: pl.Expr) -> None:
        """Forget the rows that fulfil a condition."""
        self._keep(lambda frame: frame.filter(~where))

    def drop_groups(self, groups: pl.DataFrame) -> None:
        """Forget these groups (rows of some of the group columns)."""
        self._keep(lambda frame: frame.join(groups, on=groups.columns, how="anti", nulls_equal=True))

    def least(self, column: str) -> int | None:
        """The smallest value of a column before it is merged, None if there are no rows."""
        found: list[Any] = [frame[column].min() for frame in self._frames]
        return min(found, default=None)

    def merged(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        """Rows merged by other columns than the table's."""
        return rows.group_by(group).agg(**self._merge)

    def _keep(self, part: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        self._frames = [kept for frame in self._frames if (kept := part(frame)).height]

    def _united(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        import polars as pl

        full = [frame for frame in frames if frame.height]
        if len(full) < 2:
            return full[0] if full else self._empty
        return self.merged(pl.concat(full), self.group).select(self._empty.columns)
