"""Starts the guests of a plugin, and waits before the next one where they end soon again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache

from dataflare_worker.process import Launch
from dataflare_worker.transport import ProcessTransport

FIRST = 0.1
LONGEST = 10.0
_WELL = 30.0
"""Seconds without a loss after which all is forgotten."""


class Starts:
    """Call it for a new guest. From the second loss in a row on, each takes twice as long to start. Thread-safe."""

    def __init__(self, launch: Callable[[], Launch]) -> None:
        self._launch = cache(launch)
        self._turn = threading.Lock()
        self._losses = 0
        self._last = 0.0

    def __call__(self) -> ProcessTransport:
        """A new guest."""
        time.sleep(max(0.0, self._due() - time.monotonic()))
        return ProcessTransport(self._launch(), self._ended)

    def _due(self) -> float:
        with self._turn:
            if self._losses < 2:
                return 0.0
            return self._last + min(FIRST * 2.0 ** min(self._losses - 2, 20), LONGEST)

    def _ended(self, was_lost: bool) -> None:
        """A guest was lost, or is not needed any more: then they are well."""
        with self._turn:
            now = time.monotonic()
            in_a_row = was_lost and now - self._last < _WELL
            self._losses = self._losses + 1 if in_a_row else int(was_lost)
            self._last = now
