"""What a component may ask of its surroundings while it runs.

The engine, a worker or the testing kit makes the Context; each part is a small interface, so the
same component runs in process, in a worker, in WASM, at the edge.
"""

from __future__ import annotations

import logging
import random as random_module
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dataflare.errors import PermissionDenied
from dataflare.split import Json

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.http import Http


class StateBackend(Protocol):
    """Keyed state of one lane. Keys are canonical bytes (``dataflare.keys``), values JSON, None: forget."""

    def get(self, name: str, keys: Sequence[bytes]) -> list[Json | None]:
        """The values, in the order of the keys; writes of the running call are seen."""

    def put(self, name: str, keys: Sequence[bytes], values: Sequence[Json | None], ttl: float | None) -> None:
        """Takes effect when the running call returns; an error discards it. ``ttl``: seconds from the ingest time."""

    def items(self, name: str) -> Mapping[bytes, Json]:
        """All keys of a state that this lane holds, with their values; writes of the running call are not seen."""

    def scan(self, name: str, most: int) -> Iterator[Mapping[bytes, Json]]:
        """``items`` in parts of at most so many keys: what one call reads so is one state of things."""

    def names(self) -> Iterable[str]:
        """The states, and parts of states (``NAME/PART``), that hold something; the same."""


class Timers(Protocol):
    """Timers of a keyed processor; due ones come back through ``Processor.timer``."""

    def set(self, keys: Batch, at: datetime | Sequence[datetime], *, event: bool = True) -> None:
        """Ask to be called for these keys at ``at``: event time, or processing time (``event=False``).

        A later set replaces.
        """

    def drop(self, keys: Batch) -> None:
        """Forget the timers of these keys."""


class Metrics(Protocol):
    """Counters and gauges under the step's name."""

    def count(self, name: str, value: float = 1) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""


class SecretReader(Protocol):
    """Secrets that the grant names."""

    def get(self, name: str) -> str:
        """The value. Raises PermissionDenied where it is not granted."""


class Clock(Protocol):
    """The batch's ingest time: the same for every call on the same batch."""

    def now(self) -> datetime:
        """An aware UTC time."""


class ByteStream(Protocol):
    """A host-owned input: UDP, TCP, tty, file."""

    @property
    def ended(self) -> bool:
        """True once all was received and nothing can follow."""

    def recv(self, max: int, wait: float) -> bytes:
        """At most ``max`` bytes, of UDP one datagram; empty after ``wait`` seconds without any, and at the end.

        Of a datagram that is longer than ``max`` the rest is lost.
        """


@dataclass
class FixedClock:
    """A clock that the engine sets to the ingest time of each batch."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """The time it was set to."""
        return self.time


class NoTimers:
    """Timers of a component that has no keys."""

    def set(self, keys: Batch, at: Any, *, event: bool = True) -> None:
        """Always refuses."""
        raise PermissionDenied.of(
            "step.no_timers", "timers need keys: declare `by=`, the field that names the key columns"
        )

    def drop(self, keys: Batch) -> None:
        """Always refuses."""
        self.set(keys, None)


class NoMetrics:
    """Metrics that nobody reads."""

    def count(self, name: str, value: float = 1) -> None:
        """Nothing."""

    def gauge(self, name: str, value: float) -> None:
        """Nothing."""


class NotGranted:
    """Stands for a service that the grant does not hold; any use says so."""

    def __init__(self, permission: str) -> None:
        self._permission = permission

    def __getattr__(self, name: str) -> Any:
        raise PermissionDenied.of(
            "permission.denied",
            f"`{self._permission}` is not granted to this component",
            fix=f"add `{self._permission}` with a reason to the manifest's [permissions] and grant it",
        )


@dataclass
class Context:
    """The surroundings of one lane.

    ``id`` is a stable name of this step and lane for slots and client ids, ``fence`` the fencing token,
    ``epoch`` the epoch that rows written now belong to, ``cache`` a folder that survives restarts.
    """

    id: str = "local"
    flow: str = ""
    step: str = ""
    lane: int = 0
    epoch: int = 0
    fence: int = 0
    incarnation: str = ""
    base: Path = field(default_factory=Path)
    """Where relative paths in the configuration start: the folder of the flow file."""
    cache: Path = field(default_factory=Path)
    log: Any = field(default_factory=lambda: logging.getLogger("dataflare.step"))
    metrics: Metrics = field(default_factory=NoMetrics)
    http: Http | NotGranted = field(default_factory=lambda: NotGranted("http"))
    secrets: Any = field(default_factory=lambda: NotGranted("secrets"))
    host: Any = field(default_factory=lambda: NotGranted("host"))
    timers: Timers = field(default_factory=NoTimers)
    state: StateBackend | None = None
    clock: Clock = field(default_factory=FixedClock)
    random: random_module.Random = field(default_factory=lambda: random_module.Random(0))
    resources: Callable[[Any, Any], Any] | None = None
    """(resource, component that asks) → its value: a ``dataflare.resource.Resources`` pool."""
    cancel: threading.Event = field(default_factory=threading.Event)
    on_checkpoint_request: Callable[[], None] | None = None
    on_progress: Callable[[float, float | None, str], None] | None = None
    limiter: Callable[[str, str], AbstractContextManager[None]] | None = None
    outputs: frozenset[str] = frozenset()
    """The outputs of this step that somebody reads."""
    inputs: Callable[[str], ByteStream] | None = None
    on_close: Callable[[], None] | None = None

    def clock_now(self) -> datetime:
        """The ingest time of the batch in hand."""
        return self.clock.now()

    @property
    def cancelled(self) -> bool:
        """True once the flow stops: return soon."""
        return self.cancel.is_set()

    def name(self, epoch: int | None = None) -> str:
        """A name that no other attempt uses: incarnation, flow, step, lane, epoch and fencing token."""
        number = self.epoch if epoch is None else epoch
        return f"{self.incarnation[:8]}-{self.flow}-{self.step}-{self.lane}-{number}-{self.fence}"

    def path(self, given: str | Path) -> Path:
        """A path of the configuration; relative ones start at ``base``."""
        return self.base / given

    def wait(self, seconds: float) -> bool:
        """Wait; False if the flow stopped meanwhile."""
        return not self.cancel.wait(seconds)

    async def sleep(self, seconds: float) -> bool:
        """``wait`` for async code."""
        import asyncio

        until = time.monotonic() + seconds
        while not self.cancelled and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.05))
        return not self.cancelled

    def limit(self, name: str, rate: str) -> AbstractContextManager[None]:
        """Enter to do one thing of a rate (``"10/s"``) that all lanes share."""
        return self.limiter(name, rate) if self.limiter else nullcontext()

    def input(self, name: str) -> ByteStream:
        """A host-owned input that the grant names."""
        if self.inputs is None:
            raise PermissionDenied.of(
                "permission.denied",
                f"the input `{name}` is not granted to this component",
                fix="name it under `inputs` in the manifest's [permissions], and let the grant give its address",
            )
        return self.inputs(name)

    def close(self) -> None:
        """The lane ends: inputs and connections are let go."""
        if self.on_close:
            self.on_close()

    def request_checkpoint(self) -> None:
        """Ask for an epoch now (a source whose progress waits for acknowledgements)."""
        if self.on_checkpoint_request:
            self.on_checkpoint_request()

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far a long operation is."""
        if self.on_progress:
            self.on_progress(done, total, note)
