"""Bounded channels between lanes: batches need credit, markers always pass.

A port is the channel from one producing lane to one consuming lane over one edge; the inbox of a lane
holds its ports. Since a port has one producer, credit that it saw cannot be taken by another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dataflare.batch import Batch


@dataclass(frozen=True)
class Barrier:
    """Everything before it belongs to ``epoch``. ``last``: the input has ended, flush."""

    epoch: int
    last: bool = False
    turn: Callable[[Any, bytes | None], None] | None = None
    """What every lane does once the barrier has passed it, with its snapshot: it changes over to another version."""


@dataclass(frozen=True)
class Watermark:
    """No earlier event time will come on this port, late rows aside; None: nothing is known of it yet.

    ``quiet``: nothing at all will come for now, so that this port holds time back no longer.
    """

    time: datetime | None
    quiet: bool = False


@dataclass(frozen=True)
class Parcel:
    """Rows on their way between two lanes, and their digest as the sender computed it."""

    batch: Batch
    digest: int


Item = Parcel | Barrier | Watermark


@dataclass
class Call:
    """Something to do in a lane's thread; the future has its result."""

    function: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> None:
        """Do it; an exception goes into the future."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.function())
        except BaseException as error:
            self.future.set_exception(error)


class Closed(Exception):
    """The attempt is over: lanes leave their loops."""


class Inbox:
    """The ports of one lane, and calls that must run in the lane's thread."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.ports: list[Port] = []
        self.closed = False
        self._calls: deque[Call] = deque()
        self._turn = 0
        self._woken = False

    def port(self, edge: str, producer: int, input: str, rows: int, bytes: int) -> Port:
        """A new port of this inbox."""
        made = Port(self, edge, producer, input, rows, bytes)
        self.ports.append(made)
        return made

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run ``function`` in the lane's thread, before further data. A closed inbox cancels it."""
        call = Call(function)
        with self.lock:
            if self.closed:
                call.future.cancel()
                return call.future
            self._calls.append(call)
            self.lock.notify_all()
        return call.future

    def call(self) -> Call | None:
        """The next submitted call, or None."""
        with self.lock:
            return self._calls.popleft() if self._calls else None

    def take(self, timeout: float | None) -> tuple[Port, Item] | Call | None:
        """A call, or the next item of a port that is not held; None after ``timeout`` seconds. Raises Closed.

        Ports are served in turn, so one side of a join cannot starve the other.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self.lock:
            while True:
                if self._calls:
                    return self._calls.popleft()
                if self.closed:
                    raise Closed
                count = len(self.ports)
                for step in range(count):
                    port = self.ports[(self._turn + step) % count]
                    if port.items and not port.held:
                        self._turn = (self._turn + step + 1) % count
                        return port, port._pop()
                if self._woken:
                    self._woken = False
                    return None
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self.lock.wait(left)

    def wake(self) -> None:
        """Let a waiting ``take`` return None, so that the lane looks around."""
        with self.lock:
            self._woken = True
            self.lock.notify_all()

    def close(self) -> None:
        """Wake everybody; ``take`` and ``wait_credit`` raise Closed from now on."""
        with self.lock:
            self.closed = True
            for call in self._calls:
                call.future.cancel()
            self._calls.clear()
            self.lock.notify_all()


class Port:
    """One producer's channel into an inbox, bounded in rows and bytes; an empty port takes any batch."""

    def __init__(self, inbox: Inbox, edge: str, producer: int, input: str, rows: int, bytes: int) -> None:
        self.inbox = inbox
        self.edge = edge
        self.producer = producer
        self.input = input
        self.items: deque[Item] = deque()
        self.held = False
        self.watermark = Watermark(None)
        self.rows = 0
        self.bytes = 0
        self._most_rows = rows
        self._most_bytes = bytes

    def resize(self, rows: int, bytes: int) -> None:
        """Change the bounds; takes effect for what comes."""
        with self.inbox.lock:
            self._most_rows, self._most_bytes = rows, bytes
            self.inbox.lock.notify_all()

    def wait_credit(self) -> None:
        """Wait until a batch may be put. Raises Closed."""
        with self.inbox.lock:
            while not self._has_credit():
                if self.inbox.closed:
                    raise Closed
                self.inbox.lock.wait()
            if self.inbox.closed:
                raise Closed

    def put(self, item: Item) -> None:
        """Add an item without waiting; the producer has waited for credit where it is a batch."""
        with self.inbox.lock:
            self.items.append(item)
            if isinstance(item, Parcel):
                self.rows += len(item.batch)
                self.bytes += item.batch.nbytes
            self.inbox.lock.notify_all()

    def _has_credit(self) -> bool:
        return not self.rows or (self.rows < self._most_rows and self.bytes < self._most_bytes)

    def _pop(self) -> Item:
        item = self.items.popleft()
        if isinstance(item, Parcel):
            self.rows -= len(item.batch)
            self.bytes -= item.batch.nbytes
            self.inbox.lock.notify_all()
        return item
