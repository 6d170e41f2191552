"""Sources that lie."""

import random
import time
from pathlib import Path

from dataflare import Idle, Source, Split, source
from dataflare.split import Stream

KEPT = []


@source
def forgetful(position: int = 0, *, count: int = 10):
    """Says that it resumes, and begins again."""
    for start in range(0, count, 2):
        yield {"n": [start, start + 1]}, start + 2


@source
def skipping(position: int = 0, *, count: int = 10):
    """Resumes one row too late."""
    for start in range(position + (position > 0), count, 2):
        yield {"n": [start, start + 1]}, start + 2


@source
def moody(position: int = 0):
    """Says that it gives the same rows each time."""
    for start in range(position, 6, 2):
        yield {"n": [random.random(), random.random()]}, start + 2


@source
def unplaced(position: int = 0):
    """Has positions, except for its last rows."""
    for start in range(position, 6, 2):
        yield {"n": [start, start + 1]}, (start + 2 if start < 4 else None)


@source
def keeper(position: int = 0):
    """Keeps something of every batch."""
    for start in range(position, 20, 2):
        KEPT.append(bytearray(b"x" * 50_000))
        yield {"n": [start, start + 1]}, start + 2


@source
def deaf(position: int = 0):
    """Sleeps over every demand and every stop."""
    for start in range(position, 4, 2):
        yield {"n": [start, start + 1]}, start + 2
        time.sleep(3.5)
    yield Idle(1.0, position=4)


class Greedy(Source[int]):
    """Gives more than anybody asked for."""

    def read(self, position: int = 0):
        if position == 0:
            yield {"n": range(70_000)}, 70_000


class Hasty(Source[int]):
    """Leaves out what does not fit into a small demand."""

    def read(self, demand, position: int = 0):
        for start in range(position, 10, 5):
            yield {"n": list(range(start, start + 5))[: max(1, demand.rows)]}, start + 5


class Untyped(Source[int]):
    """Plans whole numbers, and gives text."""

    def plan(self):
        return {"n": int}

    def read(self, position: int = 0):
        import pyarrow as pa

        if position == 0:
            yield pa.table({"n": ["one", "two"]}), 2


class Misnamed(Source[int]):
    """Discovers a key that is no column."""

    def discover(self):
        return [Stream("rows", {"n": int}, key=("id",))]

    def read(self, position: int = 0):
        if position == 0:
            yield {"n": [1, 2]}, 2


class Impatient(Source[int]):
    """Cannot bear to be told a thing twice."""

    def open(self):
        self.told = set()

    def read(self, position: int = 0):
        for start in range(position, 4, 2):
            yield {"n": [start, start + 1]}, start + 2

    def acknowledge(self, split: Split, position: int):
        if position in self.told:
            raise RuntimeError(f"{position} was acknowledged before")
        self.told.add(position)


class Once(Source, replay="redelivery"):
    """Promises redelivery, and forgets what it handed out."""

    path: Path

    def read(self, ctx):
        path = ctx.path(self.path)
        rows = path.read_text().split()
        path.write_text("")
        if rows:
            yield {"line": rows}
