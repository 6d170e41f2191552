"""The progress of a run on stderr: a live line on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

from dataflare_host.cli.output import tell

QUIET = 0.7
"""Seconds before anything is shown: short runs show nothing."""
PLAIN_EVERY = 5.0
WINDOW = 5.0
"""Seconds over which rates are taken."""


class Display:
    """Shows the runner's status; call it with each one."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown = self._started
        self._seen: deque[tuple[float, float, float]] = deque()
        self._live: Any = None
        self._over = False
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        if self._live is not None:
            self._live.stop()

    def __call__(self, status: Mapping[str, Any]) -> None:
        now = time.monotonic()
        done = float((status.get("progress") or {}).get("done") or 0)
        self._seen.append((now, float(status.get("rows", {}).get("read") or 0), done))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        if self._over or now - self._started < QUIET:
            return
        if self._terminal:
            self._update(self.line(status))
        elif now - self._shown >= PLAIN_EVERY:
            self._shown = now
            tell(self.line(status))

    def line(self, status: Mapping[str, Any]) -> str:
        """The state, rows, rate, lag and, where the input is bounded, what is left."""
        rows = status.get("rows", {})
        (first, read, done), (last, read_now, done_now) = self._seen[0], self._seen[-1]
        span = max(last - first, 1e-6)
        parts = [
            f"{duration(last - self._started)}  {status.get('status', '')}",
            f"read {rows.get('read', 0):,} ({(read_now - read) / span:,.0f}/s)",
            f"written {rows.get('written', 0):,}",
            f"epoch {status.get('epoch', 0)}",
        ]
        if rejected := rows.get("rejected"):
            parts.append(f"rejected {rejected:,}")
        lags = [lag for lag in (status.get("lag") or {}).values() if lag is not None]
        if lags:
            parts.append(f"lag {sum(lags):,}")
        parts += _left(status.get("progress") or {}, (done_now - done) / span)
        parts += _circuits(status.get("steps") or {})
        if problem := status.get("problem"):
            parts.append(f"{problem.get('code')}: {problem.get('message')}")
        return "  ".join(parts)

    def _update(self, line: str) -> None:
        from rich.text import Text

        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, refresh_per_second=5)
            self._live.start()
        self._live.update(Text(line, overflow="ellipsis", no_wrap=True))


def duration(seconds: float) -> str:
    """A time for people: ``0.42 s``, ``7.3 s``, ``2:05``, ``1:02:05``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _circuits(steps: Mapping[str, Any]) -> list[str]:
    """The steps that keep failing, and when they are tried again."""
    told = []
    for name, step in steps.items():
        circuit = step.get("circuit") or {}
        if circuit.get("state", "closed") != "closed":
            when = str(circuit.get("next_try") or "")[11:19]
            told.append(f"{name}: circuit {str(circuit['state']).replace('_', '-')}, next try {when}")
    return told


def _left(progress: Mapping[str, Any], rate: float) -> list[str]:
    done, total = progress.get("done") or 0, progress.get("total")
    if not total:
        return []
    share = f"{min(100.0, 100 * done / total):.0f} %"
    return [share, f"ETA {duration(max(0.0, (total - done) / rate))}"] if rate > 0 else [share]
