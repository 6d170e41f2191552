"""The rows of one side of a join that may still find partners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dataflare.json_rows import from_json_rows, to_json_rows
from dataflare_std.frames import series_of
from dataflare_std.moments import in_micros

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

TIME, ROW, OTHER, FOUND = "#time", "#row", "#other", "#found"
_BUCKET, _PLACE = "#bucket", "#place"


class Side:
    """Rows in Arrow, and beside them in the same order: their keys, times, and whether they found a partner."""

    def __init__(self, schema: pa.Schema, by: Sequence[str], time: str, before: int, after: int) -> None:
        """``before``, ``after``: how much earlier and later than a row of this side its partners may be."""
        self.schema, self.by, self.time, self.before, self.after = schema, list(by), time, before, after
        self.keys = [f"#k{number}" for number in range(len(self.by))]
        self.rows = schema.empty_table()
        self.index = self.index_of(from_json_rows([], schema))

    def index_of(self, rows: pa.RecordBatch) -> pl.DataFrame:
        """The keys and times of rows."""
        import polars as pl

        columns = [series_of(key, rows.column(name)) for key, name in zip(self.keys, self.by, strict=True)]
        made = pl.DataFrame([*columns, series_of(TIME, rows.column(self.time))])
        return made.with_columns(in_micros(TIME, made.schema[TIME]).alias(TIME), pl.lit(False).alias(FOUND))

    def add(self, rows: pa.RecordBatch, index: pl.DataFrame) -> None:
        """Hold more rows."""
        import pyarrow as pa

        self.rows = pa.concat_tables([self.rows, pa.Table.from_batches([rows])])
        if self.rows.column(0).num_chunks > _CHUNKS:
            self.rows = self.rows.combine_chunks()
        self.index = self.index.vstack(index)

    def partners(self, others: pl.DataFrame, before: int, after: int) -> pl.DataFrame:
        """The partners of rows of the other side, from ``before`` earlier to ``after`` later: (``OTHER``, ``ROW``).

        Rows meet in stretches of time as long as a row may see, of which each looks into two: so what is compared grows
        with the pairs found, not with all rows of a key.
        """
        import polars as pl

        width = before + after + 1
        given = others.select(*self.keys, TIME).with_row_index(OTHER)
        held = self.index.select(*self.keys, TIME).with_row_index(ROW)
        first, last = (pl.col(TIME) - before) // width, (pl.col(TIME) + after) // width
        looked = pl.concat(
            [given.with_columns(first.alias(_BUCKET)), given.filter(first != last).with_columns(last.alias(_BUCKET))]
        )
        least, most = given[TIME].min(), given[TIME].max()
        near = held.filter(pl.col(TIME).is_between(least - before, most + after))  # type: ignore[operator]
        met = looked.join(
            near.with_columns((pl.col(TIME) // width).alias(_BUCKET)), on=[*self.keys, _BUCKET], suffix=".held"
        )
        apart = pl.col(f"{TIME}.held") - pl.col(TIME)
        return met.filter(apart.is_between(-before, after)).select(OTHER, ROW).sort(OTHER, ROW)

    def mark(self, rows: pl.Series) -> pl.DataFrame:
        """These rows have found partners. Gives the keys of those that had none before."""
        import polars as pl

        found = pl.int_range(pl.len()).is_in(rows.unique().to_list())
        keys = self.index.filter(found & ~pl.col(FOUND)).select(self.keys)
        self.index = self.index.with_columns(pl.col(FOUND) | found)
        return keys

    def drop_before(self, until: int) -> tuple[pa.Table, pl.DataFrame]:
        """Forget the rows whose partners would all be earlier: the rows and their index."""
        import polars as pl

        gone = self.index.select(pl.col(TIME) + self.after < until).to_series()
        if not gone.any():
            return self.rows.slice(0, 0), self.index.clear()
        rows, index = self.rows.filter(gone.to_arrow()), self.index.filter(gone)
        self.rows, self.index = self.rows.filter((~gone).to_arrow()).combine_chunks(), self.index.filter(~gone)
        return rows, index

    def recast(self, schema: pa.Schema) -> None:
        """The same rows in a schema that has grown."""
        from dataflare import Batch

        if not schema.equals(self.schema):
            batch = Batch(self._taken(range(self.index.height))).cast(schema)
            found, self.schema = self.index[FOUND], schema
            self.rows, self.index = schema.empty_table(), self.index.clear()
            self.add(batch.arrow, self.index_of(batch.arrow).with_columns(found))

    # --- as JSON ------------------------------------------------------------------------------------------

    def dump(self, keys: pl.DataFrame) -> list[list[Any]]:
        """For each key its rows, each with whether it found a partner."""
        placed = keys.with_row_index(_PLACE)
        mine = self.index.with_row_index(ROW).join(placed, on=self.keys, nulls_equal=True).sort(ROW)
        rows = to_json_rows(self._taken(mine[ROW].to_list()))
        listed: list[list[Any]] = [[] for _ in range(keys.height)]
        for place, row, found in zip(mine[_PLACE].to_list(), rows, mine[FOUND].to_list(), strict=True):
            listed[place].append([row, found])
        return listed

    def load(self, listed: Iterable[Sequence[Any]]) -> None:
        """Take over the rows that ``dump`` gave."""
        import polars as pl

        entries = list(listed)
        rows = from_json_rows([row for row, _ in entries], self.schema)
        found = pl.Series(FOUND, [found for _, found in entries], pl.Boolean)
        self.add(rows, self.index_of(rows).with_columns(found))

    def _taken(self, places: Iterable[int]) -> pa.RecordBatch:
        import pyarrow as pa

        taken = self.rows.take(pa.array(places, pa.int64())).combine_chunks()
        return (taken.to_batches() or [from_json_rows([], self.schema)])[0]


_CHUNKS = 64
"""Parts of a table before it is copied into one."""
