"""What one guest used, told to the metrics of the step that it works for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dataflare.guest.frames import Frame

if TYPE_CHECKING:
    from dataflare.hosting.transport import Answering

EVERY = 0.5
"""Seconds between two tellings."""


class Usage:
    """Counts ``guest.calls``, ``guest.seconds``, ``guest.bytes_in``, ``guest.bytes_out``; gauges ``guest.memory``."""

    def __init__(self) -> None:
        self._counted = dict.fromkeys(("calls", "seconds", "bytes_in", "bytes_out"), 0.0)
        self._memory = 0
        self._told = 0.0

    @contextmanager
    def call(self, size: int) -> Iterator[None]:
        """A call with a request of so many bytes."""
        began = time.monotonic()
        try:
            yield
        finally:
            counted = self._counted
            counted["calls"] += 1
            counted["seconds"] += time.monotonic() - began
            counted["bytes_in"] += size

    def answered(self, size: int, memory: int) -> None:
        """The call was answered with so many bytes; the guest has so much memory."""
        self._counted["bytes_out"] += size
        self._memory = memory

    def tell(self, answering: Answering, at_once: bool = False) -> None:
        """Tell what was counted, now and then."""
        now = time.monotonic()
        if not at_once and now - self._told < EVERY:
            return
        self._told = now
        for name, value in self._counted.items():
            answering(Frame({"op": "metric", "name": f"guest.{name}", "value": value, "kind": "count"}))
            self._counted[name] = 0.0
        if self._memory:
            answering(Frame({"op": "metric", "name": "guest.memory", "value": self._memory, "kind": "gauge"}))
