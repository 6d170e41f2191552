"""The components that `guest.json` calls; every SDK's tests have the same ones in their language."""

from datetime import datetime

import pyarrow.compute as pc

from dataflare import (
    Batch,
    Columns,
    Idle,
    Out,
    Processor,
    Refused,
    Reject,
    Retry,
    Sink,
    Source,
    Split,
    State,
    Stream,
    processor,
    tool,
)


class Numbers(Source[int]):
    """Whole numbers from zero, one split a part."""

    parts: int = 1
    count: int = 5
    size: int = 2

    def splits(self):
        return [Split(f"part-{number}", data=number) for number in range(self.parts)]

    def read(self, split: Split, position: int = 0):
        for start in range(position, self.count, self.size):
            end = min(start + self.size, self.count)
            yield {"part": [split.data] * (end - start), "n": list(range(start, end))}, end
        yield Idle(1.5, position=self.count)


@processor(cardinality="one")
def times(batch: Batch, *, by: int = 2) -> Batch:
    """Multiplies `n`; a negative one is rejected, 13 refuses the batch, 99 asks to be called again, 77 fails."""
    numbers = batch["n"].to_pylist()
    if 13 in numbers:
        raise Reject("unlucky", "13 is in it")
    if 99 in numbers:
        raise Retry(2.5, "not now")
    if 77 in numbers:
        raise RuntimeError("77 is in it")
    batch = batch.reject(pc.less(batch["n"], 0), "negative", "`n` is negative")
    return batch.with_column("n", pc.multiply(batch["n"], by))


@processor(outputs=("odd",))
def parity(batch: Batch):
    """Even numbers to the main output, odd ones to `odd`."""
    odd = pc.equal(pc.bit_wise_and(batch["n"], 1), 1)
    yield batch.filter(pc.invert(odd))
    yield Out("odd", batch.filter(odd))


@processor
def echo(batch: Batch) -> Batch:
    """Gives back every value as the program sees it."""
    return batch


class Shop(Source[int]):
    """What a source can do beside reading: what it answers shows what it was asked."""

    def discover(self):
        return [Stream("orders", {"id": int}, key=("id",), cursor="id")]

    def plan(self):
        return {"": {"id": int}, "late": {"id": int}}

    def read(self, split: Split, position: int = 0):
        yield Refused("garbled", "not a row", b"\0\xff", "line 1")
        yield Out("late", [{"id": 7}]), 1

    def divide(self, split: Split, position: int = 0):
        return [Split(f"{split.id}-a", data=position), Split(f"{split.id}-b", after=(f"{split.id}-a",))]

    def migrate_position(self, version: int, old: int) -> int:
        return old * 10 + version

    def on_created(self):
        return {"slot": 1}

    def on_updated(self, made, before):
        return {"made": made, "before": before}

    def on_deleted(self, made):
        raise Reject("kept", f"{made} stays")


class Alarm(Processor, by="key"):
    """Gives what its timers, the watermark and the end bring."""

    key: Columns = ("k",)

    def plan(self, schema):
        return {"k": str}

    def process(self, batch: Batch):
        return []

    def timer(self, keys: Batch, time: datetime):
        return [{"k": f"{key} {time:%H:%M}"} for key in keys["k"].to_pylist()]

    def watermark(self, time: datetime):
        return [{"k": f"watermark {time:%H:%M}"}]

    def finish(self):
        return [{"k": "finish"}]


class Totals(Processor, by="key"):
    """A running total of `n` for each key."""

    key: Columns
    total: State[int]

    def process(self, batch: Batch) -> Batch:
        sums: dict[object, int] = {}
        keys = batch[self.key[0]].to_pylist()
        for key, known in zip(keys, self.total.get(batch), strict=True):
            sums.setdefault(key, known or 0)
        running = []
        for key, number in zip(keys, batch["n"].to_pylist(), strict=True):
            sums[key] += number
            running.append(sums[key])
        self.total.put(batch, running)
        return batch.with_column("total", running)


class Ledger(Processor, by="key", version=2):
    """Adds up `n` for each key, and tells at the end; version 1 kept a sum as a number."""

    key: Columns = ("k",)
    sums: State[dict]

    def plan(self, schema):
        return {"keys": int, "sum": int}

    def process(self, batch: Batch):
        sums = [held or {"sum": 0} for held in self.sums.get(batch)]
        self.sums.put(batch, [{"sum": held["sum"] + n} for held, n in zip(sums, batch["n"].to_pylist(), strict=True)])
        return []

    def finish(self):
        held = [each["sum"] for _, sums in self.sums.scan({"k": str}) for each in sums]
        return [{"keys": len(held), "sum": sum(held)}]

    def migrate_state(self, version: int, name: str, value: int) -> dict:
        if value < 0:
            raise Reject("overdrawn", f"version {version} has {value} in `{name}`")
        return {"sum": value}


class Counter(Processor):
    """Numbers the rows; what it has counted is its snapshot."""

    seen = 0

    def open(self) -> None:
        self.seen = 0

    def process(self, batch: Batch) -> Batch:
        first, self.seen = self.seen, self.seen + len(batch)
        return batch.with_column("row", list(range(first, self.seen)))

    def snapshot(self) -> bytes:
        return str(self.seen).encode()

    def restore(self, data: bytes) -> None:
        self.seen = int(data)


class Shelf(Sink[list[int]], ability="staged"):
    """Keeps numbers: staged by epoch, on the shelf once committed."""

    def open(self) -> None:
        self.staged: list[int] = []
        self.shelf: dict[int, list[int]] = {}

    def begin(self) -> None:
        self.staged = []

    def write(self, batch: Batch) -> None:
        kept = batch.reject(pc.less(batch["n"], 0), "negative", "`n` is negative")
        self.staged += kept["n"].to_pylist()

    def prepare(self) -> list[int]:
        return self.staged

    def commit(self, epoch: int, tokens: list[list[int]]) -> None:
        self.shelf[epoch] = [number for token in tokens for number in token]

    def abort(self) -> None:
        self.staged = []

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
