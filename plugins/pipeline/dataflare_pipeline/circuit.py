"""The circuit of a step, which all its lanes share: open while the step keeps failing, so that only one lane tries.

Waiting lanes keep what they have in hand: nothing is passed by, and no order changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from dataflare.errors import Problem
from dataflare_pipeline.channel import Closed

OPENS_AFTER = 3
"""Failures in a row, over all lanes."""
TICK = 0.1


class Circuit:
    """``closed``: calls pass. ``open``: none does before the next try. ``half_open``: one lane tries."""

    def __init__(self) -> None:
        self.state: Literal["closed", "open", "half_open"] = "closed"
        self.failures = 0
        """In a row, over all lanes."""
        self._problem: Problem | None = None
        self._since: datetime | None = None
        self._next = 0.0
        self._lock = threading.Condition()

    @contextmanager
    def call(self, cancel: threading.Event) -> Iterator[None]:
        """One call of the step: waits while the circuit is open. Raises Closed once cancelled.

        The caller tells how it went: ``passed`` or ``failed``; a try that ends with neither leaves the circuit open.
        """
        tries = self.state != "closed" and self._wait(cancel)
        try:
            yield
        finally:
            if tries:
                self._leave()

    def passed(self) -> None:
        """The step answered: also a refusal is an answer."""
        if self.failures:
            with self._lock:
                self.state, self.failures, self._problem, self._since = "closed", 0, None, None
                self._lock.notify_all()

    def failed(self, problem: Problem, wait: float) -> None:
        """The step failed; who called it tries again after so many seconds."""
        with self._lock:
            self.failures += 1
            self._problem = problem
            self._next = time.monotonic() + wait
            if self.failures >= OPENS_AFTER:
                self._since = self._since or datetime.now(UTC)
                self.state = "open"
                self._lock.notify_all()

    def as_json(self) -> dict[str, Any]:
        """What ``flow status`` shows; ``next_try`` and the problem also before the circuit opens."""
        with self._lock:
            failing = self.failures > 0
            left = max(0.0, self._next - time.monotonic())
            return {
                "state": self.state,
                "failures": self.failures,
                "since": None if self._since is None else self._since.isoformat(),
                "next_try": (datetime.now(UTC) + timedelta(seconds=left)).isoformat() if failing else None,
                "problem": None if self._problem is None else self._problem.as_json(),
            }

    def _wait(self, cancel: threading.Event) -> bool:
        """Wait for the circuit to close, or to be the one who tries: then True."""
        with self._lock:
            while self.state != "closed":
                if cancel.is_set():
                    raise Closed
                left = self._next - time.monotonic()
                if self.state == "open" and left <= 0:
                    self.state = "half_open"
                    return True
                self._lock.wait(min(TICK, left) if self.state == "open" else TICK)
        return False

    def _leave(self) -> None:
        with self._lock:
            if self.state == "half_open":
                self.state = "open"
                self._lock.notify_all()
