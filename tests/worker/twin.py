"""A plugin of every kind whose components refuse, retry, keep state and ask their host, to be compared with itself."""

import json
import os

import pyarrow.compute as pc

from dataflare import (
    Batch,
    Columns,
    Context,
    Idle,
    Out,
    Processor,
    Reject,
    Retry,
    Sink,
    Source,
    Split,
    State,
    processor,
    tool,
)


class Numbers(Source[int]):
    """Whole numbers in two splits."""

    count: int = 5

    def splits(self):
        return [Split("even", data=0), Split("odd", data=1)]

    def read(self, split: Split, position: int = 0):
        for n in range(position, self.count):
            yield {"n": [2 * n + split.data], "t": [None if n % 3 == 0 else str(n)]}, n + 1
        yield Idle(1.5, position=self.count)


@processor(cardinality="one")
def times(batch: Batch, ctx: Context, *, by: int = 2) -> Batch:
    """Multiplies; a negative one is rejected, 13 refuses the batch, 99 asks for another call, 7 is a mistake."""
    numbers = batch["n"].to_pylist()
    ctx.metrics.count("numbers", len(numbers))
    if 13 in numbers:
        raise Reject("unlucky", "13 is in it")
    if 99 in numbers:
        raise Retry(2.5, "not now")
    if 7 in numbers:
        raise ZeroDivisionError("seven")
    batch = batch.reject(pc.less(batch["n"], 0), "negative", "`n` is negative")
    return batch.with_column("n", pc.multiply(batch["n"], by))


@processor(outputs=("odd",))
def parity(batch: Batch):
    """Even numbers to the main output, odd ones to `odd`; nulls nowhere."""
    odd = pc.equal(pc.bit_wise_and(batch["n"], 1), 1)
    yield batch.filter(pc.invert(odd))
    yield Out("odd", batch.filter(odd))


@processor
def told(batch: Batch, ctx: Context) -> Batch:
    """What the context tells a component of its place."""
    said = [ctx.flow, ctx.step, ctx.lane, ctx.epoch, ctx.clock.now().isoformat(), ctx.cancelled, str(ctx.base)]
    return batch.with_column("said", [json.dumps(said)] * len(batch))


class Totals(Processor, by="key"):
    """A running total for each key; -1 fails after it has written."""

    key: Columns
    total: State[int]

    def process(self, batch: Batch) -> Batch:
        sums = {}
        keys, numbers = batch[self.key[0]].to_pylist(), batch["n"].to_pylist()
        for key, known in zip(keys, self.total.get(batch), strict=True):
            sums.setdefault(key, known or 0)
        running = []
        for key, number in zip(keys, numbers, strict=True):
            sums[key] += number
            running.append(sums[key])
        self.total.put(batch, running)
        if -1 in numbers:
            raise ValueError("after the state was written")
        return batch.with_column("total", running)


class Counter(Processor):
    """Numbers the rows; what it has counted is its snapshot."""

    seen = 0

    def open(self) -> None:
        self.seen = 0

    def process(self, batch: Batch) -> Batch:
        first, self.seen = self.seen, self.seen + len(batch)
        return batch.with_column("row", list(range(first, self.seen)))

    def snapshot(self) -> bytes:
        return json.dumps(self.seen).encode()

    def restore(self, data: bytes) -> None:
        self.seen = json.loads(data)


class Shelf(Sink[list[int]], ability="staged"):
    """Keeps numbers: staged by epoch, on the shelf once committed."""

    def open(self) -> None:
        self.staged, self.shelf = [], {}

    def begin(self) -> None:
        self.staged = []

    def write(self, batch: Batch) -> None:
        if 99 in batch["n"].to_pylist():
            raise Retry(0.5, "later", rows=pc.equal(batch["n"], 99))
        kept = batch.reject(pc.less(batch["n"], 0), "negative", "`n` is negative")
        self.staged += kept["n"].to_pylist()

    def prepare(self) -> list[int]:
        return self.staged

    def commit(self, epoch: int, tokens: list[list[int]]) -> None:
        self.shelf[epoch] = [number for token in tokens for number in token]

    def recover(self) -> int | None:
        return max(self.shelf, default=None)

    def readback(self, stream: str):
        for epoch in sorted(self.shelf):
            yield {"n": self.shelf[epoch]}


@tool
def add(a: int, b: int = 1, *, note: str = "sum"):
    """Adds, and tells how far it is."""
    yield {"done": 1}
    yield {note: a + b}


KEPT = []


def leak(batch: Batch) -> Batch:
    if len(batch):
        KEPT.append(bytearray(b"x") * (48 << 20))
    return batch.with_column("pid", [os.getpid()] * len(batch))


@processor
def leaky(batch: Batch) -> Batch:
    """Forgets to forget."""
    return leak(batch)


class LeakyCounter(Counter):
    """Numbers the rows, and forgets to forget."""

    def process(self, batch: Batch) -> Batch:
        return leak(super().process(batch))


class LeakyShelf(Sink[list[int]], ability="staged"):
    """Tells of its process by its tokens, and forgets to forget."""

    def begin(self) -> None:
        self.rows = 0

    def write(self, batch: Batch) -> None:
        leak(batch)
        self.rows += len(batch)

    def prepare(self) -> list[int]:
        return [os.getpid(), self.rows]

    def commit(self, tokens: list[list[int]]) -> None:
        pass
