"""What windows give, told again in plain Python: one row at a time, all rows of a window kept."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
Row = dict[str, Any]


def moment(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


AGGREGATES: dict[str, tuple[str, Callable[[list[Row]], Any]]] = {
    "rows": ("count(*)", len),
    "known": ("count(n)", lambda rows: len(_of(rows, "n"))),
    "total": ("sum(n)", lambda rows: sum(_of(rows, "n")) if _of(rows, "n") else None),
    "exact": ("sum(x)", lambda rows: math.fsum(_of(rows, "x")) if _of(rows, "x") else None),
    "mean": ("avg(n)", lambda rows: sum(_of(rows, "n")) / len(_of(rows, "n")) if _of(rows, "n") else None),
    "least": ("min(x)", lambda rows: min(_of(rows, "x"), default=None)),
    "most": ("max(s)", lambda rows: max(_of(rows, "s"), default=None)),
    "kinds": ("count(distinct s)", lambda rows: len(set(_of(rows, "s")))),
    "oldest": ("first(n)", lambda rows: _at(rows, min)),
    "newest": ("last(n)", lambda rows: _at(rows, max)),
    "share": ("sum(n * 2) / count(*)", lambda rows: 2 * sum(_of(rows, "n")) / len(rows) if _of(rows, "n") else None),
}
"""Name → the SQL, and the same for the rows of a window."""


def _of(rows: list[Row], name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] is not None]


def _at(rows: list[Row], end: Callable[[Iterable[Any]], Any]) -> Any:
    known = [(row["at"], row["n"]) for row in rows if row["n"] is not None]
    return end(known)[1] if known else None


@dataclass
class Reference:
    """The open windows of all keys: (key, start, end) → its rows."""

    size: int = 0
    slide: int = 0
    gap: int = 0
    lateness: int = 0
    closed: int = -(1 << 62)
    open: dict[tuple[Any, int, int], list[Row]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: Row) -> bool:
        """False: the row is late."""
        spans = self._session(row) if self.gap else self._spans(row["at"])
        for start, end in spans:
            self.open[row["k"], start, end].append(row)
        return bool(spans)

    def watermark(self, time: int) -> list[Row]:
        self.closed = max(self.closed, time - self.lateness)
        return self._close(lambda end: end <= self.closed)

    def finish(self) -> list[Row]:
        return self._close(lambda end: True)

    def _spans(self, time: int) -> list[tuple[int, int]]:
        first = time // self.slide * self.slide
        starts = range(first, time - self.size, -self.slide)
        return [(start, start + self.size) for start in starts if start + self.size > self.closed]

    def _session(self, row: Row) -> list[tuple[int, int]]:
        """The session of a row, after those that it touches became one; a row whose own would be over is late."""
        key, start, end = row["k"], row["at"], row["at"] + self.gap
        if end <= self.closed:
            return []
        touched = [at for at in self.open if at[0] == key and at[1] < end and start < at[2]]
        rows = [each for at in touched for each in self.open.pop(at)]
        start, end = min([start, *(at[1] for at in touched)]), max([end, *(at[2] for at in touched)])
        self.open[key, start, end] = rows
        return [(start, end)]

    def _close(self, over: Callable[[int], bool]) -> list[Row]:
        given = []
        for key, start, end in [at for at in self.open if over(at[2])]:
            rows = self.open.pop((key, start, end))
            told = {name: function(rows) for name, (_, function) in AGGREGATES.items()}
            given.append({"k": key, "window_start": moment(start), "window_end": moment(end), **told})
        return given
