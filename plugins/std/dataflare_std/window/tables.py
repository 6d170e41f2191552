"""The tables of all functions of a step together: the parts of every group, and who of them changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflare_std.window.folds import ITEM, Fold, shape_of
from dataflare_std.window.ledger import Ledger
from dataflare_std.window.wire import frame_of_rows, rows_of

if TYPE_CHECKING:
    import polars as pl

STRETCH = "#stretch"
_PLACE = "#place"
Pick = Callable[[Ledger], "pl.DataFrame"]
"""Rows of a table, with the columns of other groups than its own."""


class Tables:
    """One table of groups, and one for each function that keeps items. A group is a key and a ``part`` of it."""

    def __init__(
        self, keys: Sequence[str], part: str, folds: Mapping[str, Fold], kinds: Mapping[str, pl.DataType]
    ) -> None:
        import polars as pl

        self.keys, self.part, self.group = list(keys), part, [*keys, part]
        self._folds = dict(folds)
        self._items = {column: each.items for column, each in folds.items() if each.items is not None}
        self._first = {name: expr for each in folds.values() for name, expr in each.first.items()}
        merge = {name: expr for each in folds.values() for name, expr in each.merge.items()}
        grouped = {**{key: kinds[key] for key in keys}, part: pl.Int64()}
        empty = pl.DataFrame(schema={**kinds, **grouped})
        self.main = Ledger(self.group, merge, dict(empty.group_by(self.group).agg(**self._first).schema))
        self._tables = {
            column: Ledger([*self.group, ITEM], items.merge, {**grouped, **shape_of(items, kinds)})
            for column, items in self._items.items()
        }

    @property
    def _all(self) -> list[Ledger]:
        return [self.main, *self._tables.values()]

    def add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Merge a batch in: keys, part, time and arguments of each row. Gives its groups."""
        import polars as pl

        made = rows.group_by(self.group).agg(**self._first)
        self.main.add(made)
        for column, items in self._items.items():
            own = rows.select(self.group).hstack(items.rows(rows)).filter(pl.col(ITEM).is_not_null())
            self._tables[column].add(own.group_by([*self.group, ITEM]).agg(**items.first))
        return made.select(self.group)

    def results(self, pick: Pick, group: Sequence[str]) -> pl.DataFrame:
        """One row for each group of what is picked, with every function's column."""
        found = self.main.merged(pick(self.main), group)
        for column, items in self._items.items():
            table = self._tables[column]
            merged = table.merged(pick(table), [*group, ITEM])
            found = found.join(items.close(merged, group), on=list(group), how="left", nulls_equal=True)
        finished = {name: each.result for name, each in self._folds.items() if each.result is not None}
        return found.select(*group, **finished)

    def drop(self, where: pl.Expr) -> None:
        """Forget the groups that fulfil a condition."""
        for table in self._all:
            table.drop(where)

    def drop_groups(self, groups: pl.DataFrame) -> None:
        """Forget these groups."""
        for table in self._all:
            table.drop_groups(groups)

    def move(self, moves: pl.DataFrame, to: str) -> None:
        """Give groups another part, the column ``to``; what is there already is merged with them."""
        groups = moves.select(self.group)
        for table in self._all:
            moved = table.of(groups).join(moves, on=self.group, how="left", nulls_equal=True)
            table.drop_groups(groups)
            table.add(table.merged(moved.drop(self.part).rename({to: self.part}), table.group))

    # --- as JSON ------------------------------------------------------------------------------------------

    def dump(self, wanted: pl.DataFrame, stretch: pl.Expr) -> list[list[list[Any]]]:
        """For each wanted key and ``STRETCH`` its groups: the part, the main table's columns, lists of items."""
        placed = wanted.with_row_index(_PLACE)
        keys = wanted.select(self.keys).unique()
        main = self.main.of(keys).with_columns(stretch.alias(STRETCH))
        main = main.join(placed, on=[*self.keys, STRETCH], nulls_equal=True).with_row_index("#row")
        groups = rows_of(main, [name for name in self.main.schema if name not in self.keys])
        for table in self._tables.values():
            for group in groups:
                group.append([])
            own = table.of(keys).join(main.select(*self.group, "#row"), on=self.group, nulls_equal=True)
            listed = rows_of(own, [name for name in table.schema if name not in self.group])
            for row, item in zip(own["#row"].to_list(), listed, strict=True):
                groups[row][-1].append(item)
        found: list[list[list[Any]]] = [[] for _ in range(wanted.height)]
        for place, group in zip(main[_PLACE].to_list(), groups, strict=True):
            found[place].append(group)
        return found

    def load(self, keys: pl.DataFrame, groups: Sequence[Sequence[Any]]) -> None:
        """Take over what ``dump`` gave of keys: a group for each row of ``keys``."""
        own = {name: kind for name, kind in self.main.schema.items() if name not in self.keys}
        main = keys.hstack(frame_of_rows([group[: len(own)] for group in groups], own))
        self.main.add(main)
        for number, table in enumerate(self._tables.values(), start=len(own)):
            rows = [row for row, group in enumerate(groups) for _ in group[number]]
            items = [item for group in groups for item in group[number]]
            kinds = {name: kind for name, kind in table.schema.items() if name not in self.group}
            table.add(main.select(self.group)[rows].hstack(frame_of_rows(items, kinds)))
