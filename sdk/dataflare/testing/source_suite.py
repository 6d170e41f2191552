"""Conformance of sources: positions that resume exactly, the same answers twice, an orderly end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dataflare.drive import NO_POSITION, NoPosition, Reading, SourceDriver
from dataflare.split import Split
from dataflare.testing.reading import all_splits, in_order, read_split
from dataflare.testing.suite import Prepare, Suite, require, require_same, suite_of
from dataflare.testing.surroundings import driven


def source_suite(source: Any, prepare: Prepare | None = None, /, **config: Any) -> Any:
    """A test class for a source that ends: ``TestNumbers = source_suite(numbers, count=10, step=4)``.

    ``prepare(folder)`` makes what the source reads and gives (more of) its configuration. Where positions are
    promised, it is resumed in a fresh instance after every one of them.
    """
    return suite_of(SourceSuite, source, prepare, config)


class SourceSuite(Suite):
    """What every source keeps."""

    def test_every_position_resumes_exactly(self) -> None:
        """From each position on, a fresh instance gives exactly the rows that follow it."""
        with self.opened() as driver:
            if driver.replay != "position":
                return
            whole = _whole(driver)
            require(bool(whole), "it has no splits: give it something to read")
            for split, readings in whole:
                self._resume_everywhere(driver, split, readings)

    def _resume_everywhere(self, driver: SourceDriver, split: Split, readings: list[Reading]) -> None:
        for index, reading in enumerate(readings):
            if isinstance(reading.position, NoPosition):
                continue
            position = json.loads(json.dumps(reading.position))
            with self.opened() as fresh:
                rest = rows_of(list(read_split(fresh, split, position)))
            what = f"resumed at {position!r} of the split `{split.id}`"
            require_same(rest, rows_of(readings[index + 1 :]), what)

    def test_the_last_rows_have_a_position(self) -> None:
        """A source that promises positions gives one with or after its last rows, else they are read again for ever."""
        with self.opened() as driver:
            if driver.replay != "position":
                return
            for split, readings in _whole(driver):
                last = next((i for i, r in reversed(list(enumerate(readings))) if r.batch is not None), None)
                placed = last is None or any(not isinstance(r.position, NoPosition) for r in readings[last:])
                require(placed, f"the split `{split.id}` ends with rows that have no position")

    def test_reading_twice_gives_the_same(self) -> None:
        """The same splits with the same rows, where replay and determinism are declared."""
        with self.opened() as first, self.opened() as second:
            if first.replay != "position" or not first.component.spec.get("deterministic", True):
                return
            once, again = _whole(first), _whole(second)
            require_same(
                [split.id for split, _ in again], [split.id for split, _ in once], "the splits of a second reading"
            )
            for (split, readings), (_, others) in zip(once, again, strict=True):
                require_same(rows_of(others), rows_of(readings), f"read again, the split `{split.id}` gives")

    def test_the_rows_have_the_planned_columns(self) -> None:
        """What was planned holds, column by column."""
        with self.opened() as driver:
            planned = driver.plan()
            for _, readings in _whole(driver):
                for reading in readings:
                    schema = (planned or {}).get(reading.stream)
                    if reading.batch is None or schema is None or schema.open:
                        continue
                    found = {column.name: column.type for column in reading.batch.schema}
                    wanted = {column.name: column.type for column in schema}
                    require(found == wanted, f"the rows have {found}, planned was {wanted}")

    def test_it_can_be_left_in_the_middle(self) -> None:
        """Closing after the first batch neither raises nor disturbs a second reading."""
        with self.opened() as driver:
            for split in all_splits(driver):
                readings = read_split(driver, split)
                first = next(readings, None)
                readings.close()  # type: ignore[attr-defined]
                again = next(read_split(driver, split), None)
                gone = first is not None and again is None and driver.replay != "none"
                require(not gone, f"the split `{split.id}` cannot be read again")

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[SourceDriver]:
        """A fresh instance on the one set of things to read."""
        with (
            cls.shared() as config,
            cls.surrounded() as ctx,
            driven(cls.thing, SourceDriver, ctx, config) as driver,
        ):
            driver.plan()
            yield driver

    _shared: Any = None

    @classmethod
    @contextmanager
    def shared(cls) -> Iterator[dict[str, Any]]:
        """One configuration for all instances of a test, so that a resumed one reads the same things."""
        if cls._shared is not None:
            yield cls._shared
            return
        with cls.configured() as config:
            cls._shared = config
            try:
                yield config
            finally:
                cls._shared = None


def _whole(driver: SourceDriver) -> list[tuple[Split, list[Reading]]]:
    return [(split, list(read_split(driver, split, NO_POSITION))) for split in in_order(all_splits(driver))]


def rows_of(readings: list[Reading]) -> list[tuple[str, dict[str, Any]]]:
    """Each row with its stream."""
    return [(r.stream, row) for r in readings if r.batch is not None for row in r.batch.to_rows()]
