"""An open input: a thread that reads, a buffer, and the step that takes from it."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable

from dataflare.errors import Failed
from dataflare.grants import Asker
from dataflare_broker.inputs.buffer import Buffer
from dataflare_broker.inputs.origin import Origin

FIRST, LONGEST = 0.2, 10.0
"""Seconds before the first try to get a lost origin back, and between two later ones at most."""
PIECE = 1 << 16
_log = logging.getLogger("dataflare.input")


class Reading:
    """A ``ByteStream``. Subclasses open their origin in ``ready`` and read it in ``run``."""

    whole = False
    """Are pieces datagrams?"""

    def __init__(self, name: str, origin: Origin, asker: Asker) -> None:
        self.name = name
        self.origin = origin
        self.closing = False
        self.place = ""
        """Where it listens, for inputs that do."""
        self._asker = asker
        self._buffer = Buffer(origin.buffer, origin.overflow, self.whole)
        self._wake, self._waker = socket.socketpair()
        self._told = 0.0
        self._closed: Callable[[], None] = lambda: None
        try:
            self.ready()
        except OSError as error:
            self._wake.close()
            self._waker.close()
            raise Failed.of(
                "input.unavailable",
                f"the input `{name}` cannot be opened",
                kind="retry",
                cause=error.strerror or str(error),
                fix="see whether it is there, free, and this user may use it",
            ) from error
        self._thread = threading.Thread(target=self._work, name=f"dataflare-input-{name}", daemon=True)

    # --- what the step sees -------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """True once all was received and nothing can follow."""
        return self._buffer.exhausted

    def recv(self, max: int, wait: float) -> bytes:
        """At most ``max`` bytes; empty after ``wait`` seconds without any, and at the end."""
        return self._buffer.take(max, wait, self._asker.cancel.is_set)

    def start(self, closed: Callable[[], None]) -> None:
        """Begin to read; ``closed`` is called when it is closed."""
        self._closed = closed
        self._thread.start()

    def close(self) -> None:
        """Stop reading, let the origin go."""
        if self.closing:
            return
        self.closing = True
        self._buffer.close()
        self._waker.close()
        self._thread.join(30)
        self._wake.close()
        self._closed()

    # --- for subclasses -----------------------------------------------------------------------------------

    def ready(self) -> None:
        """Open the origin, so that what is wrong is told at once. Raises OSError."""

    def run(self) -> None:
        """Read until ``closing`` or the end."""
        raise NotImplementedError

    def release(self) -> None:
        """Let the origin go."""

    def put(self, piece: bytes) -> bool:
        """Keep what came. False: it is closed."""
        kept = self._buffer.put(piece)
        if self._buffer.lost:
            lost, self._buffer.lost = self._buffer.lost, 0
            self._asker.metrics.count(f"input.{self.name}.dropped", lost)
            self.tell(f"{lost} or more pieces were dropped: the buffer of {self.origin.buffer} bytes is full")
        return kept

    def tell(self, message: str) -> None:
        """Write a warning, not more than one in ten seconds."""
        now = time.monotonic()
        if now - self._told > 10 or not self._told:
            self._told = now
            _log.warning("%s: the input `%s`: %s", self._asker.step, self.name, message)

    def pause(self, seconds: float) -> bool:
        """Wait. False: it is closed."""
        return not self.readable([], seconds) and not self.closing

    def readable(self, held: list[int], seconds: float | None = None) -> list[int]:
        """Those of the descriptors that have something; none after ``seconds``, or once it is closed."""
        look = select.poll()
        for each in (self._wake.fileno(), *held):
            look.register(each, select.POLLIN)
        found = [number for number, _ in look.poll(None if seconds is None else seconds * 1000)]
        return [] if self.closing else [number for number in found if number != self._wake.fileno()]

    def _work(self) -> None:
        try:
            self.run()
        except Exception:
            if not self.closing:
                _log.exception("%s: the input `%s` failed", self._asker.step, self.name)
        finally:
            self._buffer.end()
            with contextlib.suppress(OSError):
                self.release()


class Backoff:
    """How long to wait before the next try."""

    def __init__(self) -> None:
        self._seconds = FIRST

    def next(self) -> float:
        """Twice as long as before, up to a bound."""
        seconds, self._seconds = self._seconds, min(self._seconds * 2, LONGEST)
        return seconds

    def reset(self) -> None:
        """It worked."""
        self._seconds = FIRST
