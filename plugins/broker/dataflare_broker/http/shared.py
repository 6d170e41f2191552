"""What the lanes of a process share: bounds, certificates, tokens, turns, and who asked to wait."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dataflare.grants import Asker
from dataflare_broker.http.connecting import Moment, Resolver
from dataflare_broker.http.tokens import Tokens
from dataflare_broker.http.url import Url

LONGEST_PAUSE = 3600.0
"""Seconds that a service may ask a step to wait, at most."""


@dataclass(frozen=True)
class Bounds:
    """How much one request may take: bytes, seconds, and requests of one step at a time."""

    request: int
    response: int
    connect: float
    total: float
    in_flight: int


@dataclass
class Shared:
    """What all lanes share: bounds, certificates, resolver, tokens, who is asked to wait."""

    bounds: Bounds
    resolve: Resolver
    certificates: ssl.SSLContext
    tokens: Tokens = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[tuple[str, str], threading.BoundedSemaphore] = {}
        self._pauses: dict[tuple[str, str, str], float] = {}

    @contextmanager
    def turn(self, asker: Asker, moment: Moment) -> Iterator[None]:
        """One of the requests of a step that may be under way at a time."""
        with self._lock:
            turns = self._turns.setdefault((asker.flow, asker.step), threading.BoundedSemaphore(self.bounds.in_flight))
        while not turns.acquire(timeout=moment.left(0.1)):
            pass
        try:
            yield
        finally:
            turns.release()

    def paused(self, asker: Asker, url: Url) -> float:
        """The seconds that this service still asks the step to wait."""
        key = (asker.flow, asker.step, url.authority)
        seconds = self._pauses.get(key, 0.0) - time.monotonic()
        if seconds <= 0:
            self._pauses.pop(key, None)
        return max(0.0, seconds)

    def pause(self, asker: Asker, url: Url, seconds: float) -> None:
        """The service asks to wait."""
        self._pauses[(asker.flow, asker.step, url.authority)] = time.monotonic() + min(seconds, LONGEST_PAUSE)
