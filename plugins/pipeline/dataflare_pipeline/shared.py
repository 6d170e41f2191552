"""What all lanes of a step share: rate limits and the component's own metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dataflare.errors import ConfigError
from dataflare.types import parse_duration
from dataflare_pipeline.channel import Closed

_WORDS = {"s": "1s", "second": "1s", "m": "1m", "minute": "1m", "h": "1h", "hour": "1h", "d": "1d", "day": "1d"}


class Limits:
    """``ctx.limit(name, "10/s")``: at most so many entries in a stretch of time, over all lanes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[tuple[str, str], float] = {}

    @contextmanager
    def enter(self, step: str, name: str, rate: str, cancel: threading.Event) -> Iterator[None]:
        """Wait for this entry's turn. Raises ConfigError for a rate that cannot be read, Closed once cancelled."""
        gap = _gap(rate)
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next.get((step, name), now))
            self._next[(step, name)] = turn + gap
        if cancel.wait(turn - now):
            raise Closed
        yield


def _gap(rate: str) -> float:
    """Seconds between two entries of a rate such as ``10/s`` or ``100/5m``."""
    count, _, per = rate.partition("/")
    try:
        seconds = parse_duration(_WORDS.get(per.strip(), per.strip()))
        return seconds / float(count)
    except (ValueError, ZeroDivisionError, ConfigError) as error:
        raise ConfigError.of("step.rate", f"`{rate}` is not a rate", fix="write it as `10/s` or `100/5m`") from error


class StepMetrics:
    """Counters and gauges of a step; from any lane (``dataflare.context.Metrics``)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.values: dict[str, float] = {}

    def count(self, name: str, value: float = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self.values[name] = self.values.get(name, 0) + value

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self.values[name] = value
