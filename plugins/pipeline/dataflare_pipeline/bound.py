"""How much an epoch may hold: once it is full, sources wait for its barrier."""

from __future__ import annotations

import threading


class EpochBound:
    """Rows and bytes that all sources of a region have handed over since the last barrier. None: no bound."""

    def __init__(self, rows: int | None, bytes: int | None) -> None:
        self._most_rows, self._most_bytes = rows, bytes
        self._rows = self._bytes = 0
        self._lock = threading.Lock()
        self.full = False

    def add(self, rows: int, bytes: int) -> bool:
        """Count what was handed over; True if that has just filled the epoch."""
        with self._lock:
            self._rows += rows
            self._bytes += bytes
            before, self.full = self.full, self._reached()
            return self.full and not before

    def reset(self) -> None:
        """A barrier is in: the next epoch is empty."""
        with self._lock:
            self._rows = self._bytes = 0
            self.full = False

    def _reached(self) -> bool:
        rows = self._most_rows is not None and self._rows >= self._most_rows
        return rows or (self._most_bytes is not None and self._bytes >= self._most_bytes)
