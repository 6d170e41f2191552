"""Processors that lie."""

import random

import pyarrow as pa
import pyarrow.compute as pc

from dataflare import Batch, Columns, Processor, State, processor, state

KEPT = []


@processor
def dice(batch: Batch) -> Batch:
    """Says that it gives the same each time."""
    return batch.with_column("dice", [random.random() for _ in range(len(batch))])


class Amnesiac(Processor):
    """Counts, and keeps nothing of it for after a crash."""

    def open(self):
        self.seen = 0

    def process(self, batch: Batch) -> Batch:
        first, self.seen = self.seen, self.seen + len(batch)
        return batch.with_column("row", list(range(first, self.seen)))


@processor(cardinality="one")
def dropper(batch: Batch) -> Batch:
    """Says that every row comes out."""
    return batch.filter(pc.greater(batch["n"], 1))


@processor(cardinality="filter")
def doubler(batch: Batch) -> Batch:
    """Says that it only leaves rows out."""
    return batch.take([index // 2 for index in range(2 * len(batch))])


@processor
def mean(batch: Batch) -> Batch:
    """Depends on where the batches are cut."""
    return batch.with_column("mean", [pc.mean(batch["n"]).as_py()] * len(batch), pa.float64())


@processor
def rounding(batch: Batch) -> Batch:
    """Turns every whole number into one that has fewer digits."""
    for name, kind in zip(batch.columns, batch.schema.types, strict=True):
        if pa.types.is_int64(kind):
            batch = batch.with_column(name, [value and int(float(value)) for value in batch[name].to_pylist()], kind)
    return batch


@processor
def cutter(batch: Batch) -> Batch:
    """Silently gives at most 65,536 rows."""
    return batch.slice(0, 65_536)


@processor
def invented(batch: Batch) -> Batch:
    """Gives text that nobody gave it, where there was none."""
    for name, kind in zip(batch.columns, batch.schema.types, strict=True):
        if pa.types.is_string(kind):
            batch = batch.with_column(name, pc.fill_null(batch[name], "unknown"))
    return batch


@processor(cardinality="one", writes=("twice",))
def overwriter(batch: Batch) -> Batch:
    """Writes a column that it does not name."""
    return batch.with_column("n", pc.multiply(batch["n"], 2))


@processor(cardinality="one", reads=("n",), writes=("twice",))
def peeker(batch: Batch) -> Batch:
    """Reads a column that it does not name."""
    return batch.with_column("twice", pc.add(batch["n"], batch["m"]))


@processor
def phoning(batch: Batch, ctx) -> Batch:
    """Says that it reaches nobody."""
    if len(batch):
        ctx.http.get("https://api.example/rate")
    return batch


@processor
def hoarder(batch: Batch) -> Batch:
    """Keeps something of every batch."""
    KEPT.append(bytearray(b"x" * 50_000))
    return batch


class OwnMemory(Processor, by="key"):
    """Says that its state is kept by key, and keeps it itself."""

    key: Columns
    unused: State[int] = state()

    def open(self):
        self.totals = {}

    def plan(self, schema):
        return schema.with_column("total", int)

    def process(self, batch: Batch) -> Batch:
        totals = []
        for key, number in zip(batch[self.key[0]].to_pylist(), batch["n"].to_pylist(), strict=True):
            self.totals[key] = self.totals.get(key, 0) + (number or 0)
            totals.append(self.totals[key])
        return batch.with_column("total", totals, pa.int64())


class SharedTotal(Processor, by="key"):
    """Says that its keys have nothing to do with each other."""

    key: Columns
    total: State[int] = state()

    def plan(self, schema):
        return schema.with_column("total", int)

    def process(self, batch: Batch) -> Batch:
        known = [value or 0 for value in self.total.get(batch)]
        everything = sum(value or 0 for value in batch["n"].to_pylist())
        self.total.put(batch, [value + everything for value in known])
        return batch.with_column("total", [everything] * len(batch), pa.int64())


class Forgetting(Processor, by="key", version=2):
    """Takes values of an older version over by what it took over before."""

    key: Columns
    total: State[int] = state()

    def open(self):
        self.taken = 0

    def process(self, batch: Batch) -> Batch:
        return batch

    def migrate_state(self, version: int, name: str, value):
        self.taken += 1
        return value + (self.taken > 100)
