"""Stepping through a processor: feed it, move time on, take snapshots, restore them elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from dataflare.batch import Batch, Rejected
from dataflare.context import Context, FixedClock
from dataflare.drive import MAIN, ProcessorDriver
from dataflare.drive import Processed as Answer
from dataflare.errors import Reject
from dataflare.memory import MemoryState, MemoryTimers
from dataflare.schema import Schema
from dataflare.split import Json, Resume
from dataflare.testing.surroundings import context, drive

END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class Rejection:
    """A refused row of the input, with the reason."""

    row: dict[str, Any]
    code: str
    message: str = ""


@dataclass
class Results:
    """What came out: batches by output in order, and the refused rows."""

    batches: list[tuple[str, Batch]] = field(default_factory=list)
    rejects: list[Rejection] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the main output."""
        return self.outputs.get(MAIN, [])

    @property
    def outputs(self) -> dict[str, list[dict[str, Any]]]:
        """Output → its rows."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name, batch in self.batches:
            found.setdefault(name, []).extend(batch.to_rows())
        return found


@dataclass(frozen=True)
class Snapshot:
    """All that a processor remembers, as it would stand in a checkpoint."""

    state: Json
    timers: Json
    own: bytes | None
    version: int
    watermark: datetime | None = None


class Bench:
    """One instance of a processor between ``open`` and ``close``; use it in a ``with``.

    Every call gives what it brought forth, and adds it to ``results``. A call that raises wrote no state.
    """

    def __init__(
        self,
        processor: Any,
        *,
        schemas: Mapping[str, Any] | None = None,
        snapshot: Snapshot | None = None,
        ctx: Context | None = None,
        **config: Any,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dataflare-")
        self.ctx = ctx or context(Path(self._folder.name))
        self.driver: ProcessorDriver = drive(processor, ProcessorDriver, self.ctx, config)
        self.state = MemoryState(self.ctx.clock)
        self.timers = MemoryTimers(self.driver.columns)
        if self.driver.component.spec.get("by") is not None:
            self.ctx.state, self.ctx.timers = self.state, self.timers
        self.schemas: dict[str, Schema] | None = None
        if schemas is not None:
            self.schemas = self.driver.plan({name: Schema(schema) for name, schema in schemas.items()})
        self.results = Results()
        self.time: datetime | None = None if snapshot is None else snapshot.watermark
        """The watermark that the processor was last told of."""
        self.driver.open(Resume(watermark=self.time))
        if snapshot is not None:
            self._restore(snapshot)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the component."""
        self.driver.close()
        self._folder.cleanup()

    def feed(self, rows: Any, input: str = "") -> Results:
        """One batch. A Reject that the whole call raises refuses all its rows, as the engine would."""
        batch = Batch.of(rows)
        if self.schemas is None:
            self.schemas = self.driver.plan({input: Schema(batch.schema)})
        try:
            return self._kept(self.driver.process(batch, input), batch)
        except Reject as reason:
            self._forget()
            rejects = [Rejection(row, reason.code, reason.message) for row in batch.to_rows()]
            self.results.rejects += rejects
            return Results([], rejects)
        except BaseException:
            self._forget()
            raise

    def advance(self, seconds: float) -> Results:
        """Move the clock on, and fire the processing-time timers that come due."""
        now = self.ctx.clock.now() + timedelta(seconds=seconds)
        if isinstance(self.ctx.clock, FixedClock):
            self.ctx.clock.time = now
        return self._fire(now, event=False)

    def watermark(self, time: datetime) -> Results:
        """No earlier event time will come: fires the event-time timers due, then tells the processor."""
        fired = self._fire(time, event=True)
        self.time = time
        told = self._call(lambda: self.driver.watermark(time))
        return Results(fired.batches + told.batches, fired.rejects + told.rejects)

    def finish(self) -> Results:
        """The end of input: the watermark is at its end, all event-time timers are due, then the processor is told."""
        reached = self.time
        timed = self.watermark(END_OF_TIME)
        self.time = reached
        told = self._call(self.driver.finish)
        return Results(timed.batches + told.batches, timed.rejects + told.rejects)

    def snapshot(self) -> Snapshot:
        """All that the processor remembers now, as if a barrier came."""
        self.driver.barrier()
        self.state.apply()
        own = self.driver.snapshot()
        version = self.driver.component.spec.version
        return Snapshot(self.state.dump(), self.timers.dump(), own, version, self.time)

    def _restore(self, snapshot: Snapshot) -> None:
        self.state.load(snapshot.state)
        self.timers.load(snapshot.timers)
        if snapshot.own is not None:
            self.driver.restore(snapshot.own, snapshot.version)

    def _fire(self, until: datetime, *, event: bool) -> Results:
        fired = Results()
        while due := self.timers.take_due(until, event=event):
            for time, keys in due:
                answer = self._call(partial(self.driver.timer, keys, time))
                fired.batches += answer.batches
                fired.rejects += answer.rejects
        return fired

    def _call(self, work: Callable[[], Answer]) -> Results:
        try:
            return self._kept(work(), None)
        except BaseException:
            self._forget()
            raise

    def _kept(self, answer: Answer, batch: Batch | None) -> Results:
        self.state.apply()
        self.timers.apply()
        made = Results(answer.outputs, rejections(answer.rejected, batch) if batch is not None else [])
        self.results.batches += made.batches
        self.results.rejects += made.rejects
        return made

    def _forget(self) -> None:
        self.state.discard()
        self.timers.discard()


def rejections(rejected: list[Rejected], batch: Batch) -> list[Rejection]:
    """The refused rows themselves, in the order of the input."""
    found = [(index, entry) for entry in rejected for index in entry.rows.to_pylist()]
    rows = batch.to_rows() if found else []
    return [
        Rejection(rows[index], entry.code, entry.message) for index, entry in sorted(found, key=lambda item: item[0])
    ]


def process(
    processor: Any, *batches: Any, input: str = "", finish: bool = True, ctx: Context | None = None, **config: Any
) -> Results:
    """Put batches through a processor: ``process(with_vat, [{"net": 1.0}], rate=0.2).rows``.

    Each positional argument is one batch (rows in any form), everything else by keyword is its configuration.
    ``finish``: tell it the end of input afterwards.
    """
    with Bench(processor, ctx=ctx, **config) as bench:
        for rows in batches:
            bench.feed(rows, input)
        if finish:
            bench.finish()
        return bench.results
