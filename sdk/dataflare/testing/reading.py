"""Reading a source to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dataflare.batch import Batch
from dataflare.context import Context
from dataflare.drive import NO_POSITION, NoPosition, Reading, SourceDriver
from dataflare.errors import Failed, Retry
from dataflare.split import Demand, Json, Refused, Split
from dataflare.testing.surroundings import driven

MOST_IDLE = 10
"""So often in a row may a source be idle, or ask for a retry, before it counts as read."""


@dataclass
class Readings:
    """What was read, in order. Each item of ``steps`` is a split with one reading of it."""

    steps: list[tuple[Split, Reading]] = field(default_factory=list)

    @property
    def batches(self) -> list[Batch]:
        """All batches."""
        return [reading.batch for _, reading in self.steps if reading.batch is not None]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows."""
        return [row for batch in self.batches for row in batch.to_rows()]

    @property
    def positions(self) -> list[Json]:
        """The positions given, as JSON; readings without one are left out."""
        return [reading.position for _, reading in self.steps if not isinstance(reading.position, NoPosition)]

    @property
    def refused(self) -> list[Refused]:
        """What could not be read."""
        return [refused for _, reading in self.steps for refused in reading.refused]

    @property
    def splits(self) -> dict[str, list[dict[str, Any]]]:
        """Split → its rows."""
        return self._grouped(lambda split, reading: split.id)

    @property
    def streams(self) -> dict[str, list[dict[str, Any]]]:
        """Stream → its rows (the main one: ``""``)."""
        return self._grouped(lambda split, reading: reading.stream)

    def _grouped(self, name: Any) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for split, reading in self.steps:
            if reading.batch is not None:
                found.setdefault(name(split, reading), []).extend(reading.batch.to_rows())
        return found


def read(
    source: Any,
    *,
    position: Json | NoPosition = NO_POSITION,
    split: str | None = None,
    columns: frozenset[str] | None = None,
    limit: int | None = None,
    ctx: Context | None = None,
    **config: Any,
) -> Readings:
    """Read a source: ``read(numbers, count=10).rows``. Everything else by keyword is its configuration.

    ``split`` reads only that one, ``position`` continues after it, ``limit`` ends after so many rows. A source that is
    idle or retries ten times in a row counts as read.
    """
    with driven(source, SourceDriver, ctx, config) as driver:
        driver.plan()
        found = Readings()
        for part in in_order(all_splits(driver)):
            if split is None or part.id == split:
                for reading in read_split(driver, part, position, columns):
                    found.steps.append((part, reading))
                    if limit is not None and sum(map(len, found.batches)) >= limit:
                        return found
        return found


def all_splits(driver: SourceDriver) -> list[Split]:
    """The splits of all rounds."""
    return [split for found, _ in driver.splits(None, frozenset()) for split in found]


def in_order(splits: list[Split]) -> Iterator[Split]:
    """Each split once those it waits for were given. Raises Failed where they wait for each other."""
    left, done = list(splits), set[str]()
    while left:
        ready = [split for split in left if done.issuperset(split.after)]
        if not ready:
            raise Failed.of(
                "source.splits", f"`{left[0].id}` waits for splits that never end: {', '.join(left[0].after)}"
            )
        yield from ready
        done.update(split.id for split in ready)
        left = [split for split in left if split.id not in done]


def read_split(
    driver: SourceDriver,
    split: Split,
    position: Json | NoPosition = NO_POSITION,
    columns: frozenset[str] | None = None,
) -> Iterator[Reading]:
    """The readings of one split; a Retry reads on from the last position at once."""
    quiet = 0
    after = split.start if isinstance(position, NoPosition) and split.start is not None else position
    while quiet < MOST_IDLE:
        readings = driver.read(split, after, demand(), columns)
        try:
            for reading in readings:
                yield reading
                moved = not isinstance(reading.position, NoPosition) and reading.position != after
                quiet = 0 if moved or reading.batch is not None else quiet + 1
                after = reading.position if moved else after
                if quiet >= MOST_IDLE:
                    break
            return
        except Retry:
            quiet += 1
        finally:
            close = getattr(readings, "close", None)
            if close:
                close()


def demand() -> Demand:
    """A demand like the engine's: a batch, within a second."""
    return Demand(rows=65_536, bytes=16 << 20, until=time.monotonic() + 1.0)
