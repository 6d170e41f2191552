"""The cases of sources, beside those of ``dataflare.testing.source_suite``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from dataflare.drive import NO_POSITION, NoPosition, Reading, SourceDriver
from dataflare.errors import Retry
from dataflare.schema import Schema
from dataflare.split import Demand, Split
from dataflare.testing.reading import MOST_IDLE, all_splits, in_order, read_split
from dataflare.testing.source_suite import SourceSuite, rows_of
from dataflare.testing.suite import require, require_same
from dataflare_verify.cases import Case, LeftOut
from dataflare_verify.memory import Memory

ROWS, BYTES, PATIENCE = 65_536, 16 << 20, 3.0
READS = 40
"""So many reads at least it takes to read an example in small parts."""


class Sources(SourceSuite, Case):
    """What every source keeps."""

    def test_it_gives_rows(self) -> None:
        """The example has something to read."""
        require(any(r.batch is not None for r in self._all()), "nothing comes of its example: give it more to read")

    def test_batches_are_bounded(self) -> None:
        """No batch is larger than what was asked for: 65,536 rows, 16 MiB."""
        for reading in self._all():
            if reading.batch is not None:
                rows, size = len(reading.batch), reading.batch.nbytes
                require(rows <= ROWS, f"a batch has {rows} rows, asked for were at most {ROWS}")
                require(size <= BYTES, f"a batch has {size} bytes, asked for were at most {BYTES}")

    def test_a_small_demand_loses_nothing(self) -> None:
        """Asked for few rows and bytes at a time it gives the same rows, in as many batches as it likes."""
        if not self._repeatable():
            raise LeftOut("it does not say that it gives the same rows twice")
        sizes = [len(reading.batch) for reading in self._all() if reading.batch is not None]
        few, largest = max(1, sum(sizes) // READS), max(sizes, default=1)
        with self.shared(), self.opened() as whole, self.opened() as driver:
            for split in in_order(all_splits(whole)):
                wanted = rows_of(list(read_split(whole, split)))
                found: list[Reading] = []
                for reading in self._steps(driver, split, Demand(few, few * 1024, 0.0), 0.2):
                    found.append(reading)
                    if reading.batch is not None:
                        rows = len(reading.batch)
                        require(rows <= largest, f"asked for {few} rows it gives {rows}, for many it gave {largest}")
                require_same(rows_of(found), wanted, f"asked for {few} rows at a time, the split `{split.id}` gives")

    def test_it_answers_in_time(self) -> None:
        """Each step comes by the time that was asked for: rows, or word that there are none now."""
        with self.opened() as driver:
            for split in in_order(all_splits(driver)):
                for _ in self._steps(driver, split, Demand(ROWS, BYTES, 0.0), 0.1, patience=PATIENCE):
                    pass

    def test_an_acknowledgement_may_come_again(self) -> None:
        """Every position is acknowledged twice, and once more by a fresh instance, as after a crash."""
        with self.shared():
            last: list[tuple[Split, Any]] = []
            with self.opened() as driver:
                if not driver.has("acknowledge"):
                    raise LeftOut("it has no `acknowledge`")
                for split in in_order(all_splits(driver)):
                    for reading in read_split(driver, split):
                        if not isinstance(reading.position, NoPosition):
                            position = json.loads(json.dumps(reading.position))
                            driver.acknowledge(split, position)
                            driver.acknowledge(split, position)
                            last.append((split, position))
            with self.opened() as fresh:
                all_splits(fresh)
                for split, position in last[-1:]:
                    fresh.acknowledge(split, position)

    def test_what_is_not_acknowledged_comes_again(self) -> None:
        """Where redelivery is promised: a fresh instance is given what the last one left without acknowledgement."""
        with self.shared():
            with self.opened() as driver:
                if driver.replay != "redelivery":
                    raise LeftOut("it does not promise redelivery")
                once = [rows_of(list(read_split(driver, split))) for split in in_order(all_splits(driver))]
            with self.opened() as fresh:
                again = [rows_of(list(read_split(fresh, split))) for split in in_order(all_splits(fresh))]
            require_same(again, once, "without an acknowledgement, a fresh instance gives")

    def test_a_stop_is_heeded(self) -> None:
        """Once the flow stops, a read comes back soon, and closing is quick."""
        with self.opened() as driver:
            split = next(iter(in_order(all_splits(driver))), None)
            if split is None:
                raise LeftOut("it has no splits")
            readings = read_split(driver, split)
            with closing(readings):  # type: ignore[type-var]
                next(readings, None)
                driver.ctx.cancel.set()
                with self.soon("a read after the flow was stopped"):
                    next(readings, None)
            with self.soon("closing"):
                driver.close()

    def test_what_it_discovers_is_true(self) -> None:
        """The streams have names, each once, and columns for their key and cursor."""
        with self.opened() as driver:
            streams = driver.discover()
            if not streams:
                raise LeftOut("it discovers nothing")
            names = [stream.name for stream in streams]
            require(len(names) == len(set(names)), f"streams come twice: {names}")
            for stream in streams:
                known = None if stream.schema is None else Schema(stream.schema).names
                for column in (*stream.key, *((stream.cursor,) if stream.cursor else ())):
                    require(known is None or column in known, f"the stream `{stream.name}` has no column `{column}`")

    def test_its_memory_stays_flat(self) -> None:
        """Over 1,000 batches, read again and again."""
        with self.opened() as driver, self.steady(Memory(driver.component)) as more:
            splits = list(in_order(all_splits(driver)))
            while splits and more():
                for split in splits:
                    for reading in read_split(driver, split):
                        if reading.batch is not None and not more():
                            return

    def test_a_flow_with_it_may_be_killed_anywhere(self) -> None:
        """Killed while it reads and commits, and again while it recovers: the target holds what was promised."""
        with self.opened() as driver:
            for split in in_order(all_splits(driver)):
                steps = self._steps(driver, split, Demand(ROWS, BYTES, 0.0), 0.1)
                if sum(reading.idle and reading.batch is None for reading in steps) >= MOST_IDLE:
                    raise LeftOut("it does not come to an end by itself")
        self.killed_and_judged()

    def work_once(self) -> None:
        """Read it once."""
        self._all()

    def _all(self) -> list[Reading]:
        with self.opened() as driver:
            return [reading for split in in_order(all_splits(driver)) for reading in read_split(driver, split)]

    def _repeatable(self) -> bool:
        with self.opened() as driver:
            return driver.replay == "position" and bool(driver.component.spec.get("deterministic", True))

    def _steps(
        self, driver: SourceDriver, split: Split, demand: Demand, seconds: float, patience: float | None = None
    ) -> Iterator[Reading]:
        """The readings of a split, the demand renewed before each, as the engine does it."""
        quiet, position = 0, split.start if split.start is not None else NO_POSITION
        rows, size = demand.rows, demand.bytes
        while quiet < MOST_IDLE:
            demand.rows, demand.bytes, demand.until = rows, size, time.monotonic() + seconds
            readings = driver.read(split, position, demand, None)
            try:
                while quiet < MOST_IDLE:
                    demand.rows, demand.bytes, demand.until = rows, size, time.monotonic() + seconds
                    reading = next(readings, None)
                    late = time.monotonic() - demand.until
                    require(patience is None or late <= patience, f"a read came {late:.1f} s after it was due")
                    if reading is None:
                        return
                    moved = not isinstance(reading.position, NoPosition) and reading.position != position
                    quiet = 0 if moved or reading.batch is not None else quiet + 1
                    position = reading.position if moved else position
                    yield reading
            except Retry:
                quiet += 1
            finally:
                close = getattr(readings, "close", None)
                if close is not None:
                    close()
