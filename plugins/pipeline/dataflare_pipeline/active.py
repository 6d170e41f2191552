"""A split that a lane reads, and how its source is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dataflare.checkpoint import SplitState
from dataflare.drive import NO_POSITION, NoPosition, Reading
from dataflare.split import Demand, Json, Split
from dataflare_pipeline.policy import Policy


@dataclass
class Active:
    """A split that this lane reads."""

    state: SplitState
    split: Split
    steps: Iterator[Reading] | None = None
    demand: Demand = field(default_factory=lambda: Demand(0, 0, 0.0))
    not_before: float = 0.0
    attempt: int = 0
    withheld: list[Reading] = field(default_factory=list)
    """Rows without a resume point: handed over together with the next position."""

    @property
    def position(self) -> Json | NoPosition:
        """Where the next read starts: the last position handed over, else the split's start."""
        if self.state.position is not None:
            return self.state.position
        return NO_POSITION if self.split.start is None else self.split.start

    def progress(self) -> float:
        """What the position says of how far the split is, where it has a number to go by."""
        position, start = self.state.position, self.split.start
        if isinstance(position, dict):
            position = position.get("offset")
            data = self.split.data
            start = data.get("start") if isinstance(data, dict) else None
        if not isinstance(position, (int, float)) or self.split.size is None:
            return 0.0
        begin = start if isinstance(start, (int, float)) else 0
        return float(min(self.split.size, max(0, position - begin)))


@dataclass(frozen=True)
class Reads:
    """How a source is read: fixed for the attempt. Times in seconds."""

    columns: frozenset[str] | None
    rows: int
    bytes: int
    every: float | None = None
    policy: Policy = field(default_factory=Policy)
    time_column: str | None = None
    lateness: float = 0.0
