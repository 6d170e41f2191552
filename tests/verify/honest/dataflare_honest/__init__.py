"""Components of every kind that are what they say."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dataflare import (
    Batch,
    Columns,
    Idle,
    Out,
    Processor,
    Reject,
    Sink,
    Source,
    Split,
    State,
    field,
    processor,
    source,
    state,
    tool,
)


class Numbers(Source[int]):
    """Whole numbers, one split a part; asked for few rows it gives few."""

    parts: int = field(default=2, ge=1, le=10)
    count: int = field(default=10, ge=0)
    size: int = field(default=3, ge=1)

    def plan(self):
        return {"part": int, "n": int}

    def splits(self):
        return [Split(f"part-{number}", data=number) for number in range(self.parts)]

    def read(self, split: Split, demand, position: int = 0):
        while position < self.count:
            end = min(position + min(self.size, max(1, demand.rows)), self.count)
            yield {"part": [split.data] * (end - position), "n": list(range(position, end))}, end
            position = end


class Letters(Source[int], replay="redelivery"):
    """Lines of a file that come again until they are acknowledged."""

    path: Path

    def open(self, ctx):
        self.file = ctx.path(self.path)

    def read(self):
        lines = self.file.read_text().splitlines()
        if lines:
            yield {"line": lines}, len(lines)

    def acknowledge(self, position: int):
        done = self.file.with_suffix(".done")
        done.write_text(str(position))


@source(replay="none", deterministic=False)
def received(ctx, *, name: str = "lines"):
    """Lines of a host-owned input."""
    stream, rest = ctx.input(name), b""
    while not ctx.cancelled:
        given = stream.recv(1024, 0.05)
        *lines, rest = (rest + given).split(b"\n")
        if lines:
            yield {"line": [line.decode() for line in lines]}
        elif stream.ended:
            return
        else:
            yield Idle()


@source
def ticking(position: int = 0):
    """Three rows, then nothing, for ever."""
    if position == 0:
        yield {"n": [1, 2, 3]}, 3
    while True:
        yield Idle(0.01, position=3)


@processor(cardinality="one", reads=("n",), writes=("n",))
def times(batch: Batch, *, by: int = 2) -> Batch:
    """Multiplies `n`; a negative one is rejected."""
    batch = batch.reject(pc.fill_null(pc.less(batch["n"], 0), False), "negative", "`n` is negative")
    return batch.with_column("n", pc.multiply(batch["n"], by))


@processor(outputs=("odd",))
def parity(batch: Batch):
    """Even numbers to the main output, odd ones to `odd`."""
    odd = pc.fill_null(pc.equal(pc.bit_wise_and(batch["n"], 1), 1), False)
    yield batch.filter(pc.invert(odd))
    yield Out("odd", batch.filter(odd))


class Totals(Processor, by="key", cardinality="one"):
    """A running total of `n` for each key."""

    key: Columns
    total: State[int] = state()

    def plan(self, schema):
        return schema.with_column("total", int)

    def process(self, batch: Batch) -> Batch:
        sums: dict[object, int] = {}
        keys = batch[self.key[0]].to_pylist()
        for key, known in zip(keys, self.total.get(batch), strict=True):
            sums.setdefault(key, known or 0)
        running = []
        for key, number in zip(keys, batch["n"].to_pylist(), strict=True):
            sums[key] += number or 0
            running.append(sums[key])
        self.total.put(batch, [sums[key] for key in keys])
        return batch.with_column("total", running, pa.int64())


class Ledger(Processor, by="key", version=3):
    """The sum of `n` for each key, which older versions kept as a number and as a list."""

    key: Columns
    sums: State[dict] = state()

    def plan(self, schema):
        return schema.with_column("sum", int)

    def process(self, batch: Batch) -> Batch:
        sums = {}
        for key, held in zip(batch[self.key[0]].to_pylist(), self.sums.get(batch), strict=True):
            sums[key] = held or {"sum": 0}
        running = []
        for key, number in zip(batch[self.key[0]].to_pylist(), batch["n"].to_pylist(), strict=True):
            sums[key] = {"sum": sums[key]["sum"] + (number or 0)}
            running.append(sums[key]["sum"])
        self.sums.put(batch, [sums[key] for key in batch[self.key[0]].to_pylist()])
        return batch.with_column("sum", running, pa.int64())

    def migrate_state(self, version: int, name: str, value):
        return {"sum": value if version == 1 else value[0]}


class Counter(Processor):
    """Numbers the rows; what it has counted is its snapshot."""

    def open(self):
        self.seen = 0

    def plan(self, schema):
        return schema.with_column("row", int)

    def process(self, batch: Batch) -> Batch:
        first, self.seen = self.seen, self.seen + len(batch)
        return batch.with_column("row", list(range(first, self.seen)), pa.int64())

    def snapshot(self) -> bytes:
        return str(self.seen).encode()

    def restore(self, data: bytes) -> None:
        self.seen = int(data)


@processor(effects="reads", cardinality="one")
def priced(batch: Batch, ctx) -> Batch:
    """Looks up the rate of today."""
    rate = 0.0
    if len(batch):
        headers = {"Authorization": ctx.secrets.get("token")}
        rate = float(ctx.http.get("https://api.example/rate", headers=headers).checked().text)
    return batch.with_column("price", pc.multiply(pc.cast(batch["n"], pa.float64()), rate))


class Shelf(Sink[str], ability="staged", fencing="names"):
    """Arrow files in a folder: staged under a name of their own, published by renaming."""

    path: Path

    def open(self, ctx):
        self.folder = ctx.path(self.path)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.batches = []

    def begin(self):
        self.batches = []

    def write(self, batch: Batch):
        self.batches.append(batch.arrow)

    def prepare(self, epoch, ctx) -> str | None:
        if not self.batches:
            return None
        name = ctx.name(epoch)
        with (self.folder / f"{name}.staged").open("wb") as file:
            with pa.ipc.new_stream(file, self.batches[0].schema) as writer:
                for batch in self.batches:
                    writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        return name

    def commit(self, tokens: list[str]):
        for name in tokens:
            if (self.folder / f"{name}.staged").exists():
                (self.folder / f"{name}.staged").rename(self.folder / f"{name}.arrow")

    def abort(self, tokens: list[str]):
        self.batches = []
        for name in tokens:
            (self.folder / f"{name}.staged").unlink(missing_ok=True)

    def readback(self, stream):
        for file in sorted(self.folder.glob("*.arrow")):
            with pa.ipc.open_stream(file.read_bytes()) as reader:
                yield from (Batch(batch) for batch in reader)


class Register(Sink, ability="idempotent", fencing="names"):
    """A row a name, in a file a name."""

    path: Path

    def open(self, ctx):
        self.folder = ctx.path(self.path)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, batch: Batch):
        for row in {row["name"]: row for row in batch.to_rows()}.values():
            if not isinstance(row["name"], str):
                raise Reject("no_name", "a row without a name")
            plain = {"name": row["name"], "n": row.get("n")}
            aside = self.folder / f"{row['name']}.aside"
            aside.write_text(json.dumps(plain))
            aside.replace(aside.with_suffix(".json"))

    def readback(self, stream):
        rows = [json.loads(file.read_text()) for file in sorted(self.folder.glob("*.json"))]
        if rows:
            yield rows


@tool
def add(a: int, b: int = 1, *, note: str = "sum"):
    """Adds, and tells how far it is."""
    yield {"done": 1}
    yield {note: a + b}
