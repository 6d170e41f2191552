"""Two streams by key and time: a row meets those held of the other side, and is held for those to come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflare import Batch, ConfigError, Problem, Resume, Schema
from dataflare.errors import StateError
from dataflare.state import State, state
from dataflare_std.expression import unknown_column
from dataflare_std.frames import array_of
from dataflare_std.join.side import FOUND, OTHER, ROW, TIME, Side
from dataflare_std.join.step import Join
from dataflare_std.moments import END_YEAR, check_time, micros, nowhere

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from dataflare import Context

_FORM = "form"
_NEVER, _ALWAYS = -(1 << 62), 1 << 62
_PARTS = 16
"""What is over is dropped once so often in the time that rows are held."""


class Interval(Join, name="join", by="on", inputs=("left", "right"), deterministic=False):
    """Join two streams by key and time."""

    held: State[dict[str, Any]] = state(plain=True)
    form: State[str] = state(plain=True)

    # --- before the start -------------------------------------------------------------------------------

    def plan(self, schemas: dict[str, Schema]) -> dict[str, Any]:
        """The columns of the left side, and those taken from the right. Raises ConfigError with every problem."""
        import pyarrow as pa

        if set(schemas) != {"left", "right"}:
            fix = "write `from: {left: …, right: …}`, or name a `table`"
            raise ConfigError.of("join.inputs", "two streams are joined, and one comes in", pointer="/on", fix=fix)
        left, right = schemas["left"], schemas["right"]
        problems = [*self._fields(), *self._keys(left, right)]
        for side, schema in schemas.items():
            column, place = self._time(side)
            if column is None:
                fix = f"write `time: COLUMN`, or `{side}_time: COLUMN`"
                problems.append(Problem("join.time", f"the {side} side has no time", pointer="/time", fix=fix))
            else:
                problems += check_time(column, schema, place, "join.time")
        if problems:
            raise ConfigError(*problems)
        self._taken = self.taken(left, right, tuple(self.on))
        self._schemas = {side: self._common(schema, left, right) for side, schema in schemas.items()}
        fields = [*self._schemas["left"], *(right.arrow.field(old).with_name(new) for new, old in self._taken.items())]
        self._output = pa.schema([each.with_nullable(True) for each in fields])
        return {"out": Schema(self._output)}

    # --- rows -------------------------------------------------------------------------------------------

    def open(self, resume: Resume) -> None:
        """Event time goes on from where it was."""
        self._closed = _NEVER if resume.watermark is None else micros(resume.watermark) - micros(self.lateness)
        self._dropped = self._closed
        self._sides: dict[str, Side] | None = None
        self._changed: list[pl.DataFrame] = []

    def process(self, batch: Batch, stream: str, ctx: Context) -> Batch | None:
        """The pairs that these rows make with those held."""
        sides = self._loaded(ctx)
        mine, others = sides[stream], sides[_OTHER_SIDE[stream]]
        there = batch.reject(nowhere(batch[mine.time]), "join.no_time", f"`{mine.time}` is null or beyond all time")
        late = mine.index_of(there.arrow)[TIME] < self._closed
        rows = there.reject(late.to_arrow(), "join.late", "partners of this row may be forgotten already").arrow
        rows = Batch(rows).cast(mine.schema).arrow
        index = mine.index_of(rows)
        if not index.height:
            return None
        pairs = others.partners(index, mine.before, mine.after)
        both = rows.take(pairs[OTHER].to_arrow()), others.rows.take(pairs[ROW].to_arrow())
        left, right = both if stream == "left" else both[::-1]
        made = self._joined(left, right)
        if self.how == "left" and stream == "left":
            index = _found(index, pairs)
        elif self.how == "left" and pairs.height:
            self._changed.append(others.mark(pairs[ROW]).unique())
        mine.add(rows, index)
        self._changed.append(index.select(mine.keys).unique())
        # A pair comes of a row of either side, so of none of this batch alone.
        return Batch(made.arrow, batch.envelope, origin=False, ledger=batch.ledger)

    def watermark(self, time: datetime) -> Batch | None:
        """Rows that can find no partner any more are dropped; those of the left side may leave alone."""
        if time.year == END_YEAR:
            return None  # the end of the input, which `finish` is told of
        self._closed = max(self._closed, micros(time) - micros(self.lateness))
        if self._sides is None or self._closed < self._dropped + (self._before + self._after) // _PARTS:
            return None
        return self._drop(self._closed)

    def finish(self, ctx: Context) -> Batch | None:
        """No partners come any more."""
        self._loaded(ctx)
        return self._drop(_ALWAYS)

    def barrier(self, ctx: Context) -> None:
        """The rows held of every key that changed, into the state."""
        import polars as pl

        if not self._changed:
            return
        sides = self._loaded(ctx)
        changed = pl.concat(self._changed).unique()
        self._changed = []
        listed = zip(*(side.dump(changed) for side in sides.values()), strict=True)
        values = [{"left": left, "right": right} if left or right else None for left, right in listed]
        kinds = [self._output.field(name).type for name in self.on]
        keys = [array_of(column, kind) for column, kind in zip(changed.get_columns(), kinds, strict=True)]
        self.held.put(Batch.of(dict(zip(self.on, keys, strict=True))), values)
        assert ctx.state is not None
        ctx.state.put(_FORM, [b""], [self._own_form()], None)

    # --- inside -----------------------------------------------------------------------------------------

    @property
    def _before(self) -> int:
        """How much earlier the right row may be, in microseconds."""
        return micros(self.within or 0.0 if self.before is None else self.before)

    @property
    def _after(self) -> int:
        return micros(self.within or 0.0 if self.after is None else self.after)

    def _loaded(self, ctx: Context) -> dict[str, Side]:
        """Both sides, at first with the rows of the state."""
        import pyarrow as pa

        if self._sides is None:
            self._check_form(ctx)
            left, right = (self._time(side)[0] or "" for side in _OTHER_SIDE)
            sides = {
                "left": Side(self._schemas["left"], list(self.on), left, self._before, self._after),
                "right": Side(self._schemas["right"], list(self.on), right, self._after, self._before),
            }
            schema = pa.schema([self._schemas["left"].field(name) for name in self.on])
            _, values = self.held.items(schema)
            for name, side in sides.items():
                side.load(entry for value in values for entry in value[name])
            self._sides = sides
        for name, side in self._sides.items():
            side.recast(self._schemas[name])
        return self._sides

    def _joined(self, left: Any, right: Any | None) -> Batch:
        """Rows of both sides beside each other; ``right`` None: nulls."""
        import pyarrow as pa

        columns = [_whole(left.column(name)) for name in self._schemas["left"].names]
        for new, old in self._taken.items():
            kind = self._output.field(new).type
            columns.append(pa.nulls(left.num_rows, kind) if right is None else _whole(right.column(old)))
        return Batch(pa.RecordBatch.from_arrays(columns, schema=self._output))

    def _drop(self, until: int) -> Batch | None:
        assert self._sides is not None
        self._dropped = until
        gone = {name: side.drop_before(until) for name, side in self._sides.items()}
        self._changed += [index.select(self._sides["left"].keys).unique() for _, index in gone.values() if index.height]
        rows, index = gone["left"]
        if self.how != "left" or not index.height:
            return None
        alone = rows.filter((~index[FOUND]).to_arrow())
        return self._joined(alone, None) if alone.num_rows else None

    # --- checks -----------------------------------------------------------------------------------------

    def _time(self, side: str) -> tuple[str | None, str]:
        """A side's column of time and the field that says it."""
        own = self.left_time if side == "left" else self.right_time
        return (self.time, "/time") if own is None else (own, f"/{side}_time")

    def _fields(self) -> Iterator[Problem]:
        if not isinstance(self.on, tuple):
            fix = "rename the column of one side in a step before, with std/select"
            yield Problem("join.keys", "two streams are joined by columns that both have", pointer="/on", fix=fix)
        if self.within is None and (self.before is None or self.after is None):
            fix = "write `within: 5m`, or `before` and `after`"
            yield Problem(
                "join.within", "a join of two streams needs to know how far apart", pointer="/within", fix=fix
            )
        if self.refresh is not None:
            yield Problem("join.table", "there is no `table` to refresh", pointer="/refresh", fix="name a `table`")

    def _keys(self, left: Schema, right: Schema) -> Iterator[Problem]:
        for name in self.on:
            missing = next((side for side in (left, right) if name not in side), None)
            if missing is not None:
                yield unknown_column(name, missing.names, "/on")
                continue
            try:
                left.select([name]).union(right.select([name]))
            except ConfigError:
                told = f"it is {left.type(name)} on the left side and {right.type(name)} on the right"
                fix = "convert one of them in a step before"
                yield Problem("join.keys", f"`{name}` has two types", pointer="/on", cause=told, fix=fix)

    def _common(self, schema: Schema, left: Schema, right: Schema) -> pa.Schema:
        """A side's schema with the keys in a type that both have."""
        for name in self.on:
            schema = schema.with_column(name, left.select([name]).union(right.select([name])).type(name))
        return schema.arrow

    def _own_form(self) -> str:
        told = [self.on, self.how, self._time("left")[0], self._time("right")[0], self._before, self._after]
        return json.dumps(told)

    def _check_form(self, ctx: Context) -> None:
        """The rows of the state were held for the same join. Raises StateError."""
        assert ctx.state is not None
        held, own = ctx.state.get(_FORM, [b""])[0], self._own_form()
        if held is not None and held != own:
            raise StateError.of(
                "state.mismatch",
                f"the state of `{ctx.step}` was made for another join",
                cause=f"it was made with {held}, the flow says {own}",
                fix="give the step its settings back, name it anew, or begin again with `--from-start`",
            )


_OTHER_SIDE = {"left": "right", "right": "left"}


def _found(index: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return index.with_columns(pl.int_range(pl.len()).is_in(pairs[OTHER].unique().to_list()).alias(FOUND))


def _whole(column: Any) -> pa.Array:
    import pyarrow as pa

    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
