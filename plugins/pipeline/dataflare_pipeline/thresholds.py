"""How many rows may be refused (``max_rejects``): a count or a share, in the whole run or within a window.

A window is a number of rows or a time, cut where epochs end: what is judged is committed, and safe in the store.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dataflare.errors import Problem
from dataflare_host.plan import Plan
from dataflare_pipeline.lane import Report

WINDOW = 1000
"""Rows that a share is of where the flow does not say."""
LEAST = 100
"""Of fewer rows than this, within a time, no share is told."""


@dataclass(frozen=True)
class Threshold:
    """The most rows that may be refused: more than ``count``, or a share above ``ratio``, are too many."""

    count: int | None = None
    ratio: float | None = None
    rows: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, given: int | Mapping[str, Any]) -> Threshold:
        """As the plan has it."""
        if isinstance(given, int):
            return cls(given)
        window, ratio = given.get("window") or {}, given.get("ratio")
        rows, seconds = window.get("rows"), window.get("time")
        if ratio is not None and seconds is None and rows is None:
            rows = WINDOW
        return cls(given.get("count"), ratio, rows, seconds)

    @property
    def windowed(self) -> bool:
        """Are only the latest rows judged?"""
        return self.rows is not None or self.seconds is not None

    def passed(self, rows: int, refused: int) -> str | None:
        """What is allowed, where it was exceeded."""
        within = f" of {self.rows:,} rows" if self.rows else f" within {self.seconds:g} s" if self.seconds else ""
        if self.count is not None and refused > self.count:
            return f"{self.count:,}{within}"
        enough = rows >= (self.rows or LEAST)
        if self.ratio is not None and enough and rows and refused / rows > self.ratio:
            return f"{self.ratio:.2%}{within}"
        return None


@dataclass
class _Epoch:
    at: float
    rows: int
    codes: Counter[str]


class Watched:
    """The epochs that a threshold judges."""

    def __init__(self, threshold: Threshold) -> None:
        self.threshold = threshold
        self.rows = 0
        self.codes: Counter[str] = Counter()
        self._epochs: deque[_Epoch] = deque()

    def add(self, rows: int, codes: Counter[str], now: float) -> None:
        """One more epoch; what falls out of the window is forgotten."""
        self.rows += rows
        self.codes += codes
        if not self.threshold.windowed:
            return
        self._epochs.append(_Epoch(now, rows, codes))
        while len(self._epochs) > 1 and self._outside(self._epochs[0], now):
            gone = self._epochs.popleft()
            self.rows -= gone.rows
            self.codes -= gone.codes

    def _outside(self, epoch: _Epoch, now: float) -> bool:
        rows, seconds = self.threshold.rows, self.threshold.seconds
        if seconds is not None:
            return now - epoch.at > seconds
        return rows is not None and self.rows - epoch.rows >= rows


class Rejects:
    """The refused rows of a run, over all its regions, against the thresholds of the flow and of its steps."""

    def __init__(self, plan: Plan) -> None:
        given = {"": plan.options.get("max_rejects"), **plan.options.get("step_rejects", {})}
        self._flow = plan.name
        self._sources = {name for name, step in plan.steps.items() if step.kind == "source"}
        self._watched = {name: Watched(Threshold.of(each)) for name, each in given.items() if each is not None}
        self._lock = threading.Lock()

    def add(self, reports: Iterable[Report], now: float | None = None) -> None:
        """What an epoch committed."""
        if not self._watched:
            return
        rows: Counter[str] = Counter()
        codes: dict[str, Counter[str]] = {}
        for report in reports:
            for step, counts in report.counts.items():
                source = step in self._sources
                came = counts.rows_out + counts.rejected + counts.dropped if source else counts.rows_in
                rows[step] += came
                rows[""] += came if source else 0
            for letter in report.letters:
                codes.setdefault(letter.step, Counter())[letter.code] += letter.count
                codes.setdefault("", Counter())[f"{letter.step}: {letter.code}"] += letter.count
        with self._lock:
            for name, watched in self._watched.items():
                watched.add(rows[name], codes.get(name, Counter()), time.monotonic() if now is None else now)

    def problem(self) -> Problem | None:
        """The first threshold that is exceeded."""
        with self._lock:
            for name, watched in self._watched.items():
                refused = watched.codes.total()
                allowed = watched.threshold.passed(watched.rows, refused)
                if allowed is not None:
                    return self._problem(name, watched, refused, allowed)
        return None

    def _problem(self, step: str, watched: Watched, refused: int, allowed: str) -> Problem:
        codes = ", ".join(f"{code} {count:,}" for code, count in watched.codes.most_common(5))
        who, what = (f"`{step}`", "the step allows") if step else ("the flow", "`max_rejects` allows")
        of_step = f" --step {step}" if step else ""
        return Problem(
            "run.too_many_rejects",
            f"{who} refused {refused:,} of {watched.rows:,} rows, {what} {allowed}",
            "fatal",
            cause=codes,
            fix=f"the rows are kept: see them with `dataflare dlq show{of_step}`, mend the cause, run again, then "
            f"`dataflare dlq replay{of_step}`; or raise `max_rejects`",
            details={
                "step": step or None,
                "refused": refused,
                "rows": watched.rows,
                "allowed": allowed,
                "codes": dict(watched.codes),
            },
        )
