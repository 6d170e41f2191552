"""Moves an engine's clock on while guests run: what their deadlines are counted in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TICK = 0.01
"""Seconds between two ticks."""
_LINGER = 1.0
"""Seconds without a running guest after which the thread ends: a stream of short calls starts it once."""


class Ticker:
    """Calls ``tick`` every 10 ms while somebody is between ``enter`` and ``leave``. Thread-safe."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._running = 0
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()

    def enter(self) -> None:
        """A guest begins to run."""
        with self._turn:
            self._running += 1
            # A thread does not survive a fork, but its object does.
            if not self._stopped and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="dataflare-wasm-ticker", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        """It has answered."""
        with self._turn:
            self._running -= 1

    def stop(self) -> None:
        """Tick no more, whatever runs: the process ends."""
        with self._turn:
            self._stopped = True

    def _run(self) -> None:
        due = last = time.monotonic()
        while True:
            time.sleep(TICK)
            now = time.monotonic()
            with self._turn:
                if self._stopped:
                    return
                # By the clock: a thread that waits for the interpreter must not give guests more time.
                while due <= now:
                    self._tick()
                    due += TICK
                if self._running:
                    last = now
                elif now - last > _LINGER:
                    self._thread = None
                    return
