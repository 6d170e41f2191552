"""Tables of merged parts: what they hold of each group, most of it in one old frame, the newest in a small one.

A batch is merged into the small frame only, so its cost does not grow with the number of groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_FEW = 1 << 16
"""Rows that the small frame may have, whatever the size of the old one."""


class Ledger:
    """One table: rows by ``group`` columns; rows of one group are merged."""

    def __init__(self, group: Sequence[str], merge: Mapping[str, pl.Expr], schema: Mapping[str, pl.DataType]) -> None:
        import polars as pl

        self.group = list(group)
        self._merge = dict(merge)
        self._old = pl.DataFrame(schema=dict(schema))
        self._new = self._old.clear()

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Column → type."""
        return dict(self._old.schema)

    def add(self, rows: pl.DataFrame) -> None:
        """Merge rows in; each group stands in them once."""
        rows = rows.select(self._old.columns)
        self._new = rows if not self._new.height else self.merged(self._new.vstack(rows), self.group)
        if self._new.height > max(_FEW, self._old.height // 2):
            self._old, self._new = self._whole(), self._new.clear()

    def rows(self, where: pl.Expr | None = None) -> pl.DataFrame:
        """The merged rows that fulfil a condition on the group columns."""
        if where is None:
            return self._whole()
        return self._united(self._old.filter(where), self._new.filter(where))

    def groups(self, where: pl.Expr) -> pl.DataFrame:
        """The groups that fulfil a condition, some of them perhaps twice."""
        return self._old.filter(where).select(self.group).vstack(self._new.filter(where).select(self.group))

    def of(self, groups: pl.DataFrame) -> pl.DataFrame:
        """The merged rows of these groups (rows of some of the group columns)."""
        on = groups.columns
        old = self._old.join(groups, on=on, how="semi", nulls_equal=True)
        return self._united(old, self._new.join(groups, on=on, how="semi", nulls_equal=True))

    def drop(self, where: pl.Expr) -> None:
        """Forget the rows that fulfil a condition."""
        self._old, self._new = self._old.filter(~where), self._new.filter(~where)

    def drop_groups(self, groups: pl.DataFrame) -> None:
        """Forget these groups (rows of some of the group columns)."""
        on = groups.columns
        self._old = self._old.join(groups, on=on, how="anti", nulls_equal=True)
        self._new = self._new.join(groups, on=on, how="anti", nulls_equal=True)

    def least(self, column: str) -> int | None:
        """The smallest value of a column before it is merged, None if there are no rows."""
        found: list[Any] = [frame[column].min() for frame in (self._old, self._new) if frame.height]
        return min(found, default=None)

    def merged(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        """Rows merged by other columns than the table's."""
        return rows.group_by(group).agg(**self._merge)

    def _whole(self) -> pl.DataFrame:
        return self._united(self._old, self._new)

    def _united(self, old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
        if not new.height:
            return old
        if not old.height:
            return new
        return self.merged(old.vstack(new), self.group).select(old.columns)
