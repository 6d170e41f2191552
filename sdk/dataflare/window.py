"""Windows over event time: tumbling, sliding and session, by key, closed by the watermark.

::

    class Totals(Window[float]):
        '''The sum of `net` of each key and window.'''

        def add(self, state: float | None, batch: Batch) -> float:
            return (state or 0.0) + pc.sum(batch["net"]).as_py()

        def merge(self, a: float, b: float) -> float:
            return a + b

        def result(self, state: float, key, span: Span) -> list[Total]:
            return [Total(key, span.start, state)]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dataflare.calling import bind, hints
from dataflare.component import Processor
from dataflare.errors import ConfigError
from dataflare.fields import field
from dataflare.json_types import JsonType
from dataflare.split import Out, Resume, Span
from dataflare.state import State, state
from dataflare.types import Columns, Duration

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.context import Context
    from dataflare.schema import Schema

S = TypeVar("S")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATE = "late"


@dataclass
class _Open:
    """A window that still takes rows: microseconds since 1970, and the author's state."""

    start: int
    end: int
    state: Any

    @property
    def span(self) -> Span:
        return Span(_moment(self.start), _moment(self.end))


class Window(Processor, Generic[S], by="by", outputs=(_LATE,)):
    """Write ``add`` and ``result``, for sessions ``merge``; S is what a window holds (anything pydantic makes JSON).

    A window gives its result once, when the watermark has passed its end by ``lateness``. Rows that come after that
    are refused (``window.late``), unless ``late`` is written.
    """

    by: Columns = field(help="The key: each has windows of its own.")
    time: str = field(help="The column with the time of the event.")
    size: Duration | None = field(default=None, help="How long a window is; none for sessions.")
    slide: Duration | None = field(default=None, help="A window starts so often; as often as `size` if not given.")
    gap: Duration | None = field(default=None, help="A session ends after so long without rows.")
    lateness: Duration = field(default=0.0, help="Rows may be so late.")
    windows: State[list[Any]] = state()
    _watermark: int | None = None

    def add(self, *args: Any, **kwargs: Any) -> S:
        """``(state, batch, span)``: a window's state with these rows; ``state`` is None for its first."""
        raise NotImplementedError

    def merge(self, a: S, b: S) -> S:
        """The state of two sessions that a row has joined."""
        raise NotImplementedError

    def result(self, *args: Any, **kwargs: Any) -> Any:
        """``(state, key, span)`` → the rows of a closed window. ``key`` is the key column's value (several: a dict)."""
        raise NotImplementedError

    def late(self, *args: Any, **kwargs: Any) -> Any:
        """``(batch)`` → rows for the output ``late``, or None to drop them. Unless written, late rows are refused."""
        return None

    def plan(self, schema: Schema) -> dict[str, Any]:
        """The rows of ``result``, as it is annotated. Raises ConfigError (``window.time``, ``window.size``)."""
        from dataflare.drive.results import element_type, schema_of_rows
        from dataflare.schema import Schema

        self._check_sizes()
        self._check_columns(schema)
        rows = schema_of_rows(element_type(hints(type(self).result).get("return")))
        late = Schema(open=True) if type(self).late is not Window.late else schema
        return {"out": Schema(open=True) if rows is None else rows, _LATE: late}

    def process(self, batch: Batch, ctx: Context) -> Iterator[Any]:
        """Rows into their windows; a timer for each key's first end."""
        import pyarrow.compute as pc

        batch = batch.reject(pc.is_null(batch[self.time]), "window.no_time", f"`{self.time}` is null")
        times = _micros(batch[self.time])
        closed = self._closed_before(batch)
        late = [closed is not None and self._last_end(time) <= closed for time in times]
        if any(late):
            yield from self._late(batch, late)
            batch = batch.filter([not is_late for is_late in late])
            times = [time for time, is_late in zip(times, late, strict=True) if not is_late]
        if times:
            self._fill(batch, times, closed, ctx)

    def timer(self, keys: Batch, time: datetime, ctx: Context) -> Iterator[Any]:
        """The results of the windows that end now."""
        closed = _since(time) - _us(self.lateness)
        rows: list[Any] = []
        left: list[list[_Open]] = []
        for key, held in zip(self._keys(keys), self._held(keys), strict=True):
            ended = [window for window in held if window.end <= closed]
            left.append([window for window in held if window.end > closed])
            for window in sorted(ended, key=lambda window: window.start):
                yield from self._result(window, key, ctx, rows)
        self._keep(keys, left, ctx)
        if rows:
            yield rows

    def open(self, resume: Resume) -> None:
        """What was closed stays closed: rows that are late for it are late after a restart too."""
        self._watermark = None if resume.watermark is None else _since(resume.watermark)

    def watermark(self, time: datetime) -> None:
        """What ends before is closed."""
        self._watermark = max(_since(time), self._watermark or 0)

    def _fill(self, batch: Batch, times: list[int], closed: int | None, ctx: Context) -> None:
        from dataflare import keys as key_bytes

        rows: dict[bytes, list[int]] = {}
        for index, key in enumerate(key_bytes.encode(batch, list(self.by))):
            rows.setdefault(key, []).append(index)
        firsts = batch.take([indices[0] for indices in rows.values()])
        kept = []
        for held, indices in zip(self._held(firsts), rows.values(), strict=True):
            if self.gap is not None:
                self._fill_sessions(held, batch, times, indices, ctx)
            else:
                self._fill_spans(held, batch, times, indices, closed, ctx)
            kept.append(held)
        self._keep(firsts, kept, ctx)

    def _fill_spans(
        self, held: list[_Open], batch: Batch, times: list[int], indices: list[int], closed: int | None, ctx: Context
    ) -> None:
        size, slide = _us(self.size or 0.0), _us(self.slide or self.size or 0.0)
        members: dict[int, list[int]] = {}
        for index in indices:
            start = times[index] // slide * slide
            while start > times[index] - size and (closed is None or start + size > closed):
                members.setdefault(start, []).append(index)
                start -= slide
        known = {window.start: window for window in held}
        for start in sorted(members):
            window = known.get(start)
            if window is None:
                window = _Open(start, start + size, None)
                held.append(window)
            window.state = self._added(window, batch.take(members[start]), ctx)

    def _fill_sessions(
        self, held: list[_Open], batch: Batch, times: list[int], indices: list[int], ctx: Context
    ) -> None:
        gap = _us(self.gap or 0.0)
        for cluster in _clusters(sorted(indices, key=times.__getitem__), times, gap):
            window = _Open(times[cluster[0]], times[cluster[-1]] + gap, None)
            for other in [other for other in held if other.start < window.end and window.start < other.end]:
                held.remove(other)
                window.start, window.end = min(window.start, other.start), max(window.end, other.end)
                window.state = other.state if window.state is None else self.merge(window.state, other.state)
            window.state = self._added(window, batch.take(sorted(cluster)), ctx)
            held.append(window)

    def _added(self, window: _Open, batch: Batch, ctx: Context) -> Any:
        return bind(self, "add")({"state": window.state, "batch": batch, "span": window.span, "ctx": ctx})

    def _result(self, window: _Open, key: Any, ctx: Context, rows: list[Any]) -> Iterator[Any]:
        """Lists of rows are gathered, so that many small windows give one batch; everything else goes out by itself."""
        given = bind(self, "result")({"state": window.state, "key": key, "span": window.span, "ctx": ctx})
        if isinstance(given, list):
            rows.extend(given)
        elif given is not None:
            yield given

    def _late(self, batch: Batch, late: list[bool]) -> Iterator[Any]:
        if type(self).late is Window.late:
            batch.reject(late, "window.late", "the window of this row has given its result already")
            return
        given = bind(self, "late")({"batch": batch.filter(late)})
        if given is not None:
            yield Out(_LATE, given)

    def _held(self, keys: Batch) -> list[list[_Open]]:
        kind = self._type()
        return [
            [_Open(start, end, kind.load(value)) for start, end, value in listed or ()]
            for listed in self.windows.get(keys)
        ]

    def _keep(self, keys: Batch, kept: list[list[_Open]], ctx: Context) -> None:
        kind = self._type()
        self.windows.put(keys, [[[w.start, w.end, kind.dump(w.state)] for w in windows] or None for windows in kept])
        waiting = [index for index, windows in enumerate(kept) if windows]
        if waiting:
            lateness = _us(self.lateness)
            ends = [_moment(min(window.end for window in kept[index]) + lateness) for index in waiting]
            ctx.timers.set(keys.take(waiting), ends)

    def _keys(self, keys: Batch) -> Iterable[Any]:
        rows = keys.arrow.select(list(self.by)).to_pylist()
        return rows if len(self.by) > 1 else (row[self.by[0]] for row in rows)

    def _type(self) -> JsonType:
        from dataflare.drive.results import base_argument

        return JsonType(base_argument(type(self), Window), "state")

    def _last_end(self, time: int) -> int:
        if self.gap is not None:
            return time + _us(self.gap)
        slide = _us(self.slide or self.size or 0.0)
        return time // slide * slide + _us(self.size or 0.0)

    def _closed_before(self, batch: Batch) -> int | None:
        told = batch.envelope.watermark
        marks = [mark for mark in (self._watermark, None if told is None else _since(told)) if mark is not None]
        return max(marks) - _us(self.lateness) if marks else None

    def _check_sizes(self) -> None:
        wrong = None
        if (self.size is None) == (self.gap is None):
            wrong = "a window needs either `size` or, for sessions, `gap`"
        elif self.slide is not None and (self.size is None or not 0 < self.slide <= self.size):
            wrong = "`slide` must be above zero and at most `size`"
        elif (self.size or self.gap or 0) <= 0:
            wrong = "a window cannot be empty"
        if wrong:
            raise ConfigError.of("window.size", wrong, pointer="/size", fix="for example `size: 1m`, or `gap: 30m`")

    def _check_columns(self, schema: Schema) -> None:
        import pyarrow as pa

        if self.time not in schema or not pa.types.is_timestamp(schema.type(self.time)):
            found = f"it is {schema.type(self.time)}" if self.time in schema else "there is no such column"
            raise ConfigError.of(
                "window.time",
                f"`{self.time}` is not a time",
                pointer="/time",
                cause=found,
                fix="name a timestamp column, or make one in a step before",
            )
        for name in self.by:
            if name not in schema:
                raise ConfigError.of("window.by", f"there is no column `{name}`", pointer="/by", fix="name a column")


def _clusters(order: list[int], times: list[int], gap: int) -> Iterator[list[int]]:
    """Rows in the order of time, cut where nothing came for ``gap``."""
    cluster: list[int] = []
    for index in order:
        if cluster and times[index] >= times[cluster[-1]] + gap:
            yield cluster
            cluster = []
        cluster.append(index)
    if cluster:
        yield cluster


def _micros(column: Any) -> list[int]:
    import pyarrow as pa

    zone = column.type.tz
    micros: list[int] = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()).to_pylist()
    return micros


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _since(time: datetime) -> int:
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)
