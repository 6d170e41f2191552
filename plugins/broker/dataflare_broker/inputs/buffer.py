"""What came in and was not taken yet: bounded, with a stated loss where it is too much."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

OVERHEAD = 64
"""Bytes that a piece counts for beside its own."""


class Buffer:
    """Pieces in order; ``whole`` ones (datagrams) are given one at a time and never joined."""

    def __init__(self, limit: int, overflow: str, whole: bool) -> None:
        self.lost = 0
        """Pieces that were dropped since ``taken_losses``."""
        self._limit = limit
        self._overflow = overflow
        self._whole = whole
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._closed = False
        self._changed = threading.Condition()

    @property
    def exhausted(self) -> bool:
        """Nothing is there, and nothing can follow."""
        with self._changed:
            return self._ended and not self._pieces

    def put(self, piece: bytes) -> bool:
        """Keep a piece; waits where it is full and nothing may be dropped. False once it is closed."""
        size = len(piece) + OVERHEAD
        with self._changed:
            while self._size + size > self._limit and self._pieces and not self._closed:
                if self._overflow == "drop_newest":
                    self.lost += 1
                    return True
                if self._overflow == "block":
                    self._changed.wait()
                else:
                    self._size -= len(self._pieces.popleft()) + OVERHEAD
                    self.lost += 1
            if self._closed:
                return False
            self._pieces.append(piece)
            self._size += size
            self._changed.notify_all()
            return True

    def take(self, most: int, wait: float, stopped: Callable[[], bool]) -> bytes:
        """At most so many bytes; empty after ``wait`` seconds without any, at the end, or when ``stopped``."""
        if most <= 0:
            return b""
        until = time.monotonic() + wait
        with self._changed:
            while not self._pieces:
                left = until - time.monotonic()
                if self._ended or self._closed or left <= 0 or stopped():
                    return b""
                self._changed.wait(min(left, 0.1))
            taken = self._one(most) if self._whole else self._joined(most)
            self._changed.notify_all()
            return taken

    def end(self) -> None:
        """Nothing follows."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _one(self, most: int) -> bytes:
        piece = self._pieces.popleft()
        self._size -= len(piece) + OVERHEAD
        return piece[:most]

    def _joined(self, most: int) -> bytes:
        taken: list[bytes] = []
        while self._pieces and most > 0:
            piece = self._pieces.popleft()
            self._size -= len(piece) + OVERHEAD
            if len(piece) > most:
                rest = piece[most:]
                self._pieces.appendleft(rest)
                self._size += len(rest) + OVERHEAD
                piece = piece[:most]
            taken.append(piece)
            most -= len(piece)
        return b"".join(taken)
