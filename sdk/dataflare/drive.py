"""Drivers: the uniform face of a component towards whoever runs it.

The engine, a worker and the testing kit call a component only through its driver. A driver binds the
arguments each operation asks for by name, runs async operations on the lane's own loop, turns what the author
gives (rows, dicts, generators, ``Out``, Arrow objects) into Batches, positions and tokens into JSON and back,
and collects rejects. One driver = one instance = one lane: not thread-safe, but for ``acknowledge``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from dataflare.batch import Batch, Rejected
from dataflare.context import Context
from dataflare.split import Demand, Json, Refused, Resume, Split

if TYPE_CHECKING:
    from dataflare.component import Component, Processor, Sink, Source, Tool
    from dataflare.errors import Problem
    from dataflare.schema import Schema

MAIN = "out"


class NoPosition:
    """Stands for "no position given with these rows" (a JSON ``null`` position is a position)."""


NO_POSITION = NoPosition()


@dataclass
class Reading:
    """One step of ``read``: rows of a stream, or none (``idle``), and where to resume after them.

    ``position`` is JSON, or NO_POSITION (``yield rows, None``: no resume point here; bare ``yield rows``: never any).
    ``refused`` is what could not be read since the last step.
    """

    batch: Batch | None
    position: Json | NoPosition = NO_POSITION
    stream: str = ""
    idle: bool = False
    after: float | None = None
    refused: list[Refused] = field(default_factory=list)


@dataclass
class Processed:
    """What one call of a processor gave: batches for named outputs (main: ``out``) in order, and rejects of its input."""

    outputs: list[tuple[str, Batch]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


class Driver:
    """What all drivers share."""

    def __init__(self, component: Component, ctx: Context) -> None:
        self.component = component
        self.ctx = ctx

    def check(self) -> list[Problem]:
        """The component's ``check``."""
        raise NotImplementedError

    def open(self, resume: Resume) -> None:
        """Resolve resources, bind state, call ``open``."""
        raise NotImplementedError

    def close(self) -> None:
        """Close generators, the component, its loop. Never raises; logs."""
        raise NotImplementedError


class SourceDriver(Driver):
    """Drives a source."""

    component: Source

    @property
    def replay(self) -> str:
        """``position``, ``redelivery`` or ``none``; a source that declares nothing and asks for ``position`` has ``position``."""
        raise NotImplementedError

    def plan(self) -> dict[str, Schema] | None:
        """Stream → schema, if the component, its annotation or ``rows=`` tells; else None."""
        raise NotImplementedError

    def splits(self, position: Json, finished: frozenset[str]) -> Iterator[tuple[list[Split], Json]]:
        """Rounds of new splits with the discovery position after each; a plain iterable is one round with position None."""
        raise NotImplementedError

    def read(self, split: Split, position: Json | NoPosition, demand: Demand, columns: frozenset[str] | None) -> Iterator[Reading]:
        """The steps of one split from ``position`` on; ends when the split ends. ``demand`` is live.

        Closing the iterator raises GeneratorExit at the author's yield. A Retry raised by the author ends the iterator
        with that exception: the engine calls ``read`` again from the last position.
        """
        raise NotImplementedError

    def acknowledge(self, split: Split, position: Json) -> None:
        """Call ``acknowledge`` (an async one may run while a ``read`` waits)."""
        raise NotImplementedError


class ProcessorDriver(Driver):
    """Drives a processor. Row-wise, batch-wise, keyed, sync and async all look the same from here."""

    component: Processor

    def plan(self, schemas: dict[str, Schema]) -> dict[str, Schema]:
        """Input name (``""`` for the main one) → schema; gives output name → schema.

        By ``plan``; else the return annotation, ``rows=``/``adds=``; else a dry run on zero rows. Raises ConfigError.
        """
        raise NotImplementedError

    def process(self, batch: Batch, input: str = "") -> Processed:
        """One batch. Raises what the author raised (Reject and Retry too); then nothing was kept of the call."""
        raise NotImplementedError

    def timer(self, keys: Batch, time: datetime) -> Processed:
        """Due timers."""
        raise NotImplementedError

    def watermark(self, time: datetime) -> Processed:
        """The watermark moved."""
        raise NotImplementedError

    def finish(self) -> Processed:
        """End of input."""
        raise NotImplementedError

    def snapshot(self) -> bytes | None:
        """The component's own snapshot, if it has one."""
        raise NotImplementedError

    def restore(self, data: bytes, version: int) -> None:
        """Continue from a snapshot."""
        raise NotImplementedError


class SinkDriver(Driver):
    """Drives a sink."""

    component: Sink

    def plan(self, schema: Schema) -> None:
        """The component's ``plan``. Raises ConfigError."""
        raise NotImplementedError

    def begin(self, epoch: int) -> None:
        """Start an epoch."""
        raise NotImplementedError

    def write(self, batch: Batch) -> list[Rejected]:
        """Write rows; rejects are indices into ``batch``."""
        raise NotImplementedError

    def prepare(self, epoch: int, last: bool) -> Json:
        """The token, as JSON. Raises Failed (``sink.token_too_large``) above 64 KiB."""
        raise NotImplementedError

    def commit(self, epoch: int, tokens: Sequence[Json]) -> None:
        """Publish."""
        raise NotImplementedError

    def abort(self, epoch: int, tokens: Sequence[Json]) -> None:
        """Undo."""
        raise NotImplementedError

    def recover(self) -> int | None:
        """The epoch that the target holds."""
        raise NotImplementedError

    def snapshot(self) -> bytes | None:
        """The component's own snapshot, if it has one."""
        raise NotImplementedError

    def restore(self, data: bytes, version: int) -> None:
        """Continue from a snapshot."""
        raise NotImplementedError


class ToolDriver(Driver):
    """Drives a tool."""

    component: Tool

    def call(self, given: dict[str, Json]) -> Iterator[tuple[bool, Json]]:
        """``(last, value)``: progress values, then the answer, as JSON. Raises ConfigError for wrong input."""
        raise NotImplementedError
