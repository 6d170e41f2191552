"""The step ``window``: from batches to the results of windows, state by key in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dataflare import Batch, Columns, ConfigError, Duration, Expr, Out, Problem, Processor, Resume, Schema, field
from dataflare.errors import StateError
from dataflare.state import State, state
from dataflare_std.expression import escaped, unknown_column
from dataflare_std.frames import array_of
from dataflare_std.moments import END_YEAR, check_time, micros, nowhere
from dataflare_std.window.opened import END, START, Opened
from dataflare_std.window.panes import Panes
from dataflare_std.window.parse import Parsed, parse
from dataflare_std.window.sessions import Sessions
from dataflare_std.window.typed import Typed

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from dataflare import Context

_LATE = "late"
_FORM = "form"


class Window(Processor, by="by", outputs=(_LATE,), deterministic=False):
    """Aggregate the rows of each window of event time, by key; each window gives its row once, when its time is over.

    Windows are tumbling (`size`), sliding (`size` and `slide`) or sessions (`gap`). A window is over when the watermark
    has passed its end by `lateness`. Rows that come later go to the output `late`, or are refused if nobody reads it.
    """

    time: str = field(help="The column with the time of the event.")
    size: Duration | None = field(default=None, help="How long a window is; none for sessions.")
    slide: Duration | None = field(default=None, help="A window starts so often; as often as `size` if not given.")
    gap: Duration | None = field(default=None, help="A session ends after so long without rows.")
    by: Columns = field(default=(), help="The key: each has windows of its own. None: all rows are in one.")
    aggregates: dict[str, Expr] = field(
        help="Column → what it is of the rows of a window, for example `total: sum(price * pieces)`.", min_length=1
    )
    lateness: Duration = field(default=0.0, help="How much longer a window waits for rows that are late.")
    start: str = field(default="window_start", help="The column for the start of a window, which belongs to it.")
    end: str = field(default="window_end", help="The column for the end of a window, which does not.")
    windows: State[dict[str, Any]] = state(plain=True)
    form: State[str] = state(plain=True)

    # --- before the start -------------------------------------------------------------------------------

    @cached_property
    def parsed(self) -> Parsed:
        """The aggregates, cut apart. Raises ConfigError."""
        return parse(self.aggregates, "/aggregates")

    def plan(self, schema: Schema) -> dict[str, Schema]:
        """Keys, start and end of the window, aggregates. Raises ConfigError with every problem found."""
        import pyarrow as pa

        problems = [*self._sizes(), *self._columns(schema), *self._names()]
        try:
            parsed = self.parsed
        except ConfigError as error:
            raise ConfigError(*problems, *error.problems) from None
        if problems:
            raise ConfigError(*problems)
        self._typed = Typed.of(parsed, self.by, self.time, schema.arrow)
        zone = getattr(schema.type(self.time), "tz", None)
        moment = pa.timestamp("us", zone)
        keys = [schema.arrow.field(name) for name in self.by]
        made = [pa.field(self.start, moment), pa.field(self.end, moment)]
        results = [pa.field(name, self._typed.types[name]) for name in self.aggregates]
        self._output = pa.schema([*keys, *made, *results])
        return {"out": Schema(self._output), _LATE: schema}

    def needs(self, columns: frozenset[str] | None, schema: Schema) -> frozenset[str] | None:
        """Keys, time, what the aggregates read, and what is wanted of late rows."""
        if columns is None:
            return None
        return frozenset(self.by) | {self.time} | self.parsed.columns | (columns & frozenset(schema.names))

    # --- rows -------------------------------------------------------------------------------------------

    def open(self, resume: Resume) -> None:
        """Event time goes on from where it was."""
        self._reached = None if resume.watermark is None else micros(resume.watermark) - micros(self.lateness)
        self._book: Opened | None = None
        self._checked: Typed | None = None
        self._held_form = ""

    def process(self, batch: Batch, ctx: Context) -> Iterator[Any]:
        """Merge the rows into their windows; what is late leaves."""
        book = self._loaded(ctx)
        if (missed := self._given(book.catch_up())) is not None:
            yield missed
        there = batch.reject(nowhere(batch[self.time]), "window.no_time", f"`{self.time}` is null or beyond all time")
        rows, frame = self._typed.rows(there)
        late = book.late(frame)
        if late.any():
            mask = late.to_arrow()
            if _LATE in ctx.outputs:
                yield Out(_LATE, batch.take(_places(rows).filter(mask)))
            else:
                rows.reject(mask, "window.late", "the windows of this row have given their results already")
            frame = frame.filter(~late)
        if frame.height:
            book.add(frame)

    def watermark(self, time: datetime, ctx: Context) -> Batch | None:
        """The results of the windows that are over."""
        if time.year == END_YEAR:
            return None  # the end of the input, which `finish` is told of
        return self._given(self._loaded(ctx).close(micros(time) - micros(self.lateness)))

    def finish(self, ctx: Context) -> Batch | None:
        """The results of all windows: no more rows come."""
        return self._given(self._loaded(ctx).close_all())

    def barrier(self, ctx: Context) -> None:
        """The windows of every key that changed, into the state."""
        for part, keys, values in self._loaded(ctx).changes():
            self.windows.part(part).put(self._key_rows(keys), values)
            assert ctx.state is not None
            ctx.state.put(_FORM, [b""], [self._held_form], None)

    # --- inside -----------------------------------------------------------------------------------------

    def _loaded(self, ctx: Context) -> Opened:
        """The open windows: those of the state at first."""
        import pyarrow as pa

        self._check_form(ctx)
        if self._book is None:
            typed = self._typed
            self._book = self._opened(typed)
            schema = pa.schema([self._output.field(number) for number in range(len(self.by))])
            for part in self.windows.parts():
                keys, values = self.windows.part(part).items(schema)
                self._book.load(part, typed.key_frame(keys.arrow, len(values)), values)
        return self._book

    def _opened(self, typed: Typed) -> Opened:
        given = typed.keys, typed.folds, typed.kinds, self._reached
        if self.gap is not None:
            return Sessions(micros(self.gap), *given)
        size = micros(self.size or 0.0)
        return Panes(size, size if self.slide is None else micros(self.slide), *given)

    def _given(self, found: pl.DataFrame | None) -> Batch | None:
        """The results of windows as rows of the output, in the order of time and key."""
        import polars as pl
        import pyarrow as pa

        if found is None or not found.height:
            return None
        found = found.sort(START, END, *self._typed.keys)
        keys = [pl.col(key) for key in self._typed.keys[: len(self.by)]]
        results = [expr.alias(f"#r{number}") for number, expr in enumerate(self._typed.results.values())]
        columns = found.select(*keys, START, END, *results).get_columns()
        arrays = [array_of(column, kind) for column, kind in zip(columns, self._output.types, strict=True)]
        return Batch(pa.RecordBatch.from_arrays(arrays, schema=self._output))

    def _key_rows(self, keys: pl.DataFrame) -> Batch:
        """Keys as the state knows them: in the input's columns."""
        import pyarrow as pa

        if not self.by:
            return Batch(pa.record_batch({"all": pa.nulls(keys.height)}))
        kinds = [self._output.field(number).type for number in range(len(self.by))]
        arrays = [array_of(column, kind) for column, kind in zip(keys.get_columns(), kinds, strict=True)]
        return Batch(pa.RecordBatch.from_arrays(arrays, names=list(self.by)))

    # --- checks -----------------------------------------------------------------------------------------

    def _own_form(self) -> str:
        """What the tables depend on."""
        told = {"size": self.size, "slide": self.slide or self.size, "gap": self.gap, "aggregates": self.aggregates}
        kinds = {name: str(kind) for name, kind in self._typed.kinds.items()}
        return json.dumps({**told, "types": kinds}, separators=(",", ":"))

    def _check_form(self, ctx: Context) -> None:
        """What is held was made with these sizes, aggregates and types. Raises StateError."""
        if self._checked is self._typed:
            return
        assert ctx.state is not None
        held = ctx.state.get(_FORM, [b""])[0] if self._checked is None else self._held_form
        self._checked, self._held_form = self._typed, self._own_form()
        if held is not None and held != self._held_form:
            raise StateError.of(
                "state.mismatch",
                f"the state of `{ctx.step}` was made with other sizes, aggregates or types",
                cause=f"it was made with {held}, the flow says {self._held_form}",
                fix="give the step its settings back, name it anew, or begin again with `--from-start`",
            )

    def _sizes(self) -> Iterator[Problem]:
        wrong, place = None, "/size"
        if (self.size is None) == (self.gap is None):
            wrong = "a window needs either `size` or, for sessions, `gap`"
        elif self.slide is not None and (self.size is None or not 0 < self.slide <= self.size):
            wrong, place = "`slide` must be above zero and at most `size`", "/slide"
        elif (self.size or self.gap or 0) < 1e-6:
            wrong, place = "a window cannot be shorter than a microsecond", "/size" if self.gap is None else "/gap"
        if wrong:
            yield Problem("window.size", wrong, pointer=place, fix="for example `size: 1m`, or `gap: 30m`")

    def _columns(self, schema: Schema) -> Iterator[Problem]:
        unknown = [name for name in self.by if name not in schema]
        yield from check_time(self.time, schema, "/time", "window.time")
        yield from (unknown_column(name, schema.names, "/by") for name in unknown)

    def _names(self) -> Iterator[Problem]:
        places = [("/by", name) for name in self.by] + [("/start", self.start), ("/end", self.end)]
        places += [(f"/aggregates/{escaped(name)}", name) for name in self.aggregates]
        names = [name for _, name in places]
        for index, (place, name) in enumerate(places):
            if name in names[:index]:
                message = f"two columns would be named `{name}`"
                yield Problem("plan.duplicate_column", message, pointer=place, fix="choose another name")


def _places(rows: Batch) -> pa.Array:
    """Where rows stood in the input of the step."""
    import pyarrow as pa

    return pa.array(range(len(rows)), pa.int64()) if rows.origin is None else rows.origin
