"""What happened: events with sequence numbers, told to whoever listens, and records for the audit."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from dataflare_host.host import Event, Principal

_log = logging.getLogger("dataflare.events")


def now() -> str:
    """The time, as events and records have it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class Record:
    """One line of the audit: who does what to what. ``result``, known only ``after``: ``done`` or a problem's code."""

    phase: Literal["before", "after"]
    principal: Principal
    action: str
    target: str
    result: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=now)


class Events:
    """The newest events of this process, in their order. Thread-safe.

    ``tell`` is called for each in a thread of its own, so that whoever emits never waits for whoever listens.
    """

    def __init__(self, tell: Callable[[Event], object] | None = None, keep: int = 10_000) -> None:
        self._kept: deque[Event] = deque(maxlen=keep)
        self._lock = threading.Lock()
        self._sequence = 0
        self._untold: queue.Queue[Event | None] = queue.Queue(keep)
        self._tell = tell
        self._teller: threading.Thread | None = None

    def emit(self, event: Event) -> Event:
        """Keep an event under the next sequence number; the event as it was kept."""
        with self._lock:
            self._sequence += 1
            event = replace(event, sequence=self._sequence)
            self._kept.append(event)
            if self._tell is None:
                return event
            if self._teller is None:
                given = (self._tell,)
                self._teller = threading.Thread(target=self._telling, args=given, name="dataflare-events", daemon=True)
                self._teller.start()
            try:
                self._untold.put_nowait(event)
            except queue.Full:
                _log.warning("event %d (%s) was not told to the hooks: they are too slow", event.sequence, event.kind)
        return event

    def after(self, sequence: int) -> Iterator[Event]:
        """The events kept with a higher number, oldest first; a gap in the numbers says that older ones are gone."""
        with self._lock:
            kept = list(self._kept)
        return iter([event for event in kept if event.sequence > sequence])

    def close(self, timeout: float = 5.0) -> None:
        """Tell what is still untold, for ``timeout`` seconds at most."""
        with self._lock:
            teller, self._teller, self._tell = self._teller, None, None
        if teller is not None:
            with suppress(queue.Full):
                self._untold.put(None, timeout=timeout)
                teller.join(timeout)

    def _telling(self, tell: Callable[[Event], object]) -> None:
        while (event := self._untold.get()) is not None:
            tell(event)
