"""Starts the guests of a plugin, and waits before the next one where they end soon again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache

from dataflare.hosting import Guests, Transport
from dataflare_worker.process import Launch
from dataflare_worker.transport import ProcessTransport

FIRST = 0.1
LONGEST = 10.0
_WELL = 30.0
"""Seconds without a loss after which all is forgotten."""


class Processes(Guests):
    """The guests of one plugin. From the second loss in a row on, each takes twice as long to start."""

    def __init__(self, launch: Callable[[], Launch]) -> None:
        super().__init__(self._started)
        self._launch = cache(launch)
        self._counting = threading.Lock()
        self._losses = 0
        self._last = 0.0

    def take(self) -> Transport:
        """A guest that nobody else has, and that lives."""
        while True:
            guest = super().take()
            if not isinstance(guest, ProcessTransport) or guest.is_usable():
                return guest
            guest.close()

    def is_worn(self, transport: Transport) -> bool:
        """Whether it has leaked so much that it is better replaced."""
        return isinstance(transport, ProcessTransport) and transport.is_worn()

    def _started(self) -> ProcessTransport:
        time.sleep(max(0.0, self._due() - time.monotonic()))
        return ProcessTransport(self._launch(), self._ended)

    def _due(self) -> float:
        with self._counting:
            if self._losses < 2:
                return 0.0
            return self._last + min(FIRST * 2.0 ** min(self._losses - 2, 20), LONGEST)

    def _ended(self, was_lost: bool) -> None:
        """A guest was lost, or is not needed any more: then they are well."""
        with self._counting:
            now = time.monotonic()
            in_a_row = was_lost and now - self._last < _WELL
            self._losses = self._losses + 1 if in_a_row else int(was_lost)
            self._last = now
