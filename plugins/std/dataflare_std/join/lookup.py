"""The rows of a stream with those of a table, which is read when the flow starts, and perhaps again later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataflare import Batch, ConfigError, DataflareError, Problem, Schema
from dataflare_std.expression import unknown_column
from dataflare_std.frames import series_of
from dataflare_std.join.step import Join
from dataflare_std.join.table import read_table, schema_of_table

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from dataflare import Context

_ROW, _PLACE = "#row", "#place"


class Lookup(Join, name="join", by=None, inputs=None, deterministic=True):
    """Join the rows of a stream with a table that stays as it is."""

    # --- before the start -------------------------------------------------------------------------------

    def plan(self, schemas: dict[str, Schema], ctx: Context) -> Schema:
        """The columns of the stream, and those taken from the table. Raises ConfigError with every problem."""
        import pyarrow as pa

        if set(schemas) != {""}:
            fix = "write `from: STEP`, or take `table` out to join two streams"
            raise ConfigError.of("join.inputs", "a table is joined to one stream", pointer="/table", fix=fix)
        schema, table = schemas[""], Schema(schema_of_table(self._source, ctx))
        problems = [*self._fields(), *self._keys(schema, table)]
        if problems:
            raise ConfigError(*problems)
        self._planned = table.arrow
        self._kinds = {
            f"#k{number}": _common(schema, left, table, right) for number, (left, right) in enumerate(self._on.items())
        }
        self._taken = self.taken(schema, table, tuple(self._on.values()))
        fields = [table.arrow.field(old).with_name(new).with_nullable(True) for new, old in self._taken.items()]
        return Schema(pa.schema([*schema.arrow, *fields]))

    def needs(self, columns: frozenset[str] | None, schema: Schema) -> frozenset[str] | None:
        """The key, and what is wanted of the stream."""
        return None if columns is None else frozenset(self._on) | (columns & frozenset(schema.names))

    # --- rows -------------------------------------------------------------------------------------------

    def open(self, ctx: Context) -> None:
        """Read the table, so that the first batch does not wait for it."""
        self._table: pa.Table | None = None
        if "_planned" in vars(self):
            self._read(ctx)

    def process(self, batch: Batch, ctx: Context) -> Batch:
        """Each row with its rows of the table, in the order of the stream."""
        self._before(ctx)
        if self._table is None:
            self._read(ctx)
        assert self._table is not None
        given = _keys(batch.arrow, self._on, self._kinds).with_row_index(_PLACE)
        met = given.join(self._index, on=list(self._kinds), how=self.how, maintain_order="left_right")
        if met.height != len(batch) or not self._once:
            batch = batch.take(met[_PLACE].to_arrow())
        found = met[_ROW].to_arrow()
        for new, old in self._taken.items():
            batch = batch.with_column(new, self._table.column(old).take(found))
        return batch

    # --- inside -----------------------------------------------------------------------------------------

    @property
    def _on(self) -> dict[str, str]:
        """Column of the stream → column of the table."""
        return dict(self.on) if isinstance(self.on, dict) else {name: name for name in self.on}

    @property
    def _source(self) -> Any:
        assert self.table is not None
        return self.table.get()

    def _before(self, ctx: Context) -> None:
        """Before a batch: this table stays as it is."""

    def _read(self, ctx: Context) -> None:
        table = read_table(self._source, ctx, self._planned)
        keys = {old: old for old in self._on.values()}
        index = _keys(table, keys, self._kinds)
        self._once = not index.is_duplicated().any()
        self._table, self._index = table.combine_chunks(), index.with_row_index(_ROW)

    def _fields(self) -> Iterator[Problem]:
        for name in ("time", "left_time", "right_time", "within", "before", "after"):
            if getattr(self, name) is not None:
                fix = f"remove `{name}`, or remove `table`"
                yield Problem("join.table", f"a table has no `{name}`", pointer=f"/{name}", fix=fix)

    def _keys(self, schema: Schema, table: Schema) -> Iterator[Problem]:
        for left, right in self._on.items():
            if left not in schema:
                yield unknown_column(left, schema.names, "/on")
            if right not in table:
                yield unknown_column(right, table.names, "/on")
            if left not in schema or right not in table:
                continue
            try:
                _common(schema, left, table, right)
            except ConfigError:
                told = f"`{left}` is {schema.type(left)}, `{right}` of the table is {table.type(right)}"
                fix = "convert one of them; a source can read text as another type: `schema: {column: type}`"
                yield Problem("join.keys", "the keys have two types", pointer="/on", cause=told, fix=fix)


class Refreshed(Lookup, name="join", by=None, inputs=None, deterministic=False):
    """Join the rows of a stream with a table that is read again every so often, at the first batch of an epoch."""

    def open(self, ctx: Context) -> None:
        """Read the table."""
        super().open(ctx)
        self._epoch, self._next = ctx.epoch, time.monotonic() + (self.refresh or 0.0)

    def _before(self, ctx: Context) -> None:
        """One epoch sees one table; one that cannot be read now is read later."""
        if ctx.epoch == self._epoch or time.monotonic() < self._next:
            return
        self._epoch, self._next = ctx.epoch, time.monotonic() + (self.refresh or 0.0)
        try:
            self._read(ctx)
        except (DataflareError, OSError) as error:
            ctx.log.warning("the table of `%s` stays as it was: it cannot be read now: %s", ctx.step, error)


def _common(schema: Schema, left: str, table: Schema, right: str) -> pa.DataType:
    """A type that both columns have. Raises ConfigError."""
    first = Schema().with_column("key", schema.type(left))
    return first.union(Schema().with_column("key", table.type(right))).type("key")


def _keys(rows: Any, columns: dict[str, str], kinds: dict[str, pa.DataType]) -> pl.DataFrame:
    """The key columns of a record batch or table, in types that both sides have."""
    import polars as pl

    series = [
        series_of(key, rows.column(name).cast(kind)) for (key, kind), name in zip(kinds.items(), columns, strict=True)
    ]
    return pl.DataFrame(series)
