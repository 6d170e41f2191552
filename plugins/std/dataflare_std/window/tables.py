"""The tables of all functions of a step together: the parts of every group, and who of them changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from dataflare_std.window.folds import ITEM, Fold, shape_of
from dataflare_std.window.ledger import Ledger
from dataflare_std.window.wire import from_json, to_json

if TYPE_CHECKING:
    import polars as pl

STRETCH = "#stretch"
_PLACE, _AT = "#place", "#at"
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
        """What each wanted key and ``STRETCH`` holds; nothing: an empty list.

        A list of columns for each table: the part and its columns for the main one; for the others the place of the
        group in these, the item and its columns.
        """
        import polars as pl

        keys, on = wanted.select(self.keys).unique(), [*self.keys, STRETCH]
        main = self.main.of(keys).with_columns(stretch.alias(STRETCH))
        main = main.join(wanted.with_row_index(_PLACE), on=on, nulls_equal=True).sort(_PLACE)
        main = main.with_columns(pl.int_range(pl.len()).over(_PLACE).alias(_AT))
        found = _cut(main, [name for name in self.main.schema if name not in self.keys], wanted.height)
        places = main.select(*self.group, _PLACE, _AT)
        for table in self._tables.values():
            own = table.of(keys).join(places, on=self.group, nulls_equal=True).sort(_PLACE, _AT)
            names = [name for name in table.schema if name not in self.group]
            for held, columns in zip(found, _cut(own, [_AT, *names], wanted.height), strict=True):
                held += columns
        return [held if held[0] else [] for held in found]

    def load(self, keys: pl.DataFrame, held: Sequence[list[list[Any]]]) -> None:
        """Take over what ``dump`` gave of these keys."""
        import polars as pl

        own = {name: kind for name, kind in self.main.schema.items() if name not in self.keys}
        sizes = [len(columns[0]) for columns in held]
        begins = list(accumulate(sizes, initial=0))
        rows = [row for row, size in enumerate(sizes) for _ in range(size)]
        main = keys[rows].hstack(_united(held, 0, own))
        self.main.add(main)
        start = len(own)
        for table in self._tables.values():
            kinds = {_AT: pl.Int64(), **{name: kind for name, kind in table.schema.items() if name not in self.group}}
            counts = [len(columns[start]) for columns in held]
            begin = pl.Series([begins[row] for row, count in enumerate(counts) for _ in range(count)], dtype=pl.Int64)
            items = _united(held, start, kinds)
            table.add(main.select(self.group)[items[_AT] + begin].hstack(items.drop(_AT)))
            start += len(kinds)


def _cut(rows: pl.DataFrame, names: Sequence[str], places: int) -> list[list[list[Any]]]:
    """The columns of rows that stand in the order of their place, as JSON, for each place."""
    counts = dict(rows.group_by(_PLACE).len().iter_rows())
    ends = list(accumulate((counts.get(place, 0) for place in range(places)), initial=0))
    columns = [to_json(rows[name]) for name in names]
    return [[column[begin:end] for column in columns] for begin, end in pairwise(ends)]


def _united(held: Sequence[list[list[Any]]], start: int, kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Columns of several keys, one below the other."""
    import polars as pl

    made = []
    for number, (name, kind) in enumerate(kinds.items(), start=start):
        made.append(from_json(name, [value for columns in held for value in columns[number]], kind))
    return pl.DataFrame(made)
