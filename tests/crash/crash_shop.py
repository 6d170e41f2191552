"""Components of the flows that the crash suite kills."""

import json
import os
import signal
import socket
import sqlite3
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc

from dataflare import (
    Batch,
    Columns,
    Context,
    Fenced,
    Processor,
    Retry,
    Sink,
    Source,
    Split,
    State,
    crash,
    processor,
    state,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


class Numbers(Source[int]):
    """Numbers in two splits, forty at a time, a second apart; every key comes four times. It notes what it is told."""

    count: int = 100

    def splits(self):
        return [Split("low"), Split("high")]

    def plan(self):
        return {"n": int, "k": int, "at": datetime}

    def read(self, split: Split, position: int = 0):
        half = self.count // 2
        first = 0 if split.id == "low" else half
        for start in range(position, half, 40):
            rows = range(first + start, first + min(start + 40, half))
            times = [START + timedelta(seconds=n - first) for n in rows]
            yield {"n": list(rows), "k": [n // 4 for n in rows], "at": times}, rows[-1] + 1 - first

    def acknowledge(self, split: Split, position: int, ctx):
        with ctx.path("told").open("a") as file:
            file.write(f"{split.id} {position}\n")


class Numbered(Processor, by="key", cardinality="one"):
    """Number the rows of each key."""

    key: Columns
    seen: State[int] = state()

    def plan(self, schema):
        return schema.with_column("number", int)

    def process(self, batch: Batch) -> Batch:
        counts, numbers = {}, []
        keys = batch.select(self.key).to_rows()
        for key, before in zip(keys, self.seen.get(batch), strict=True):
            name = tuple(key.values())
            counts[name] = counts.get(name, before or 0) + 1
            numbers.append(counts[name])
        self.seen.put(batch, [counts[tuple(key.values())] for key in keys])
        return batch.with_column("number", numbers)


class Lines(Sink, ability="append"):
    """Lines of JSON at the end of a file, as soon as they come."""

    path: Path

    def write(self, batch: Batch, ctx):
        lines = [json.dumps(row, default=str) + "\n" for row in batch.to_rows()]
        with ctx.path(self.path).open("a") as file:
            file.writelines(lines[: len(lines) // 2])
            file.flush()
            crash.point("half-written")
            file.writelines(lines[len(lines) // 2 :])


class KeyedRows(Sink, ability="idempotent", fencing="target"):
    """Rows of a table by their key, as soon as they come; the table knows its newest owner."""

    path: Path
    key: Columns

    def open(self, ctx):
        self.fence = ctx.fence
        self.db = sqlite3.connect(ctx.path(self.path), isolation_level=None, check_same_thread=False, timeout=30)
        self.db.executescript(
            "pragma synchronous = off; create table if not exists rows (key text primary key, row text);"
            "create table if not exists owner (fence integer)"
        )
        with self.owned():
            self.db.execute("delete from owner")
            self.db.execute("insert into owner values (?)", (self.fence,))

    def write(self, batch: Batch):
        rows = [
            (json.dumps([row[name] for name in self.key], default=str), json.dumps(row, default=str))
            for row in batch.to_rows()
        ]
        with self.owned():
            self.db.executemany("insert or replace into rows values (?, ?)", rows)
        crash.point("upserted")

    @contextmanager
    def owned(self):
        with self.db:
            self.db.execute("begin immediate")
            newest = self.db.execute("select coalesce(max(fence), 0) from owner").fetchone()[0]
            if newest > self.fence:
                raise Fenced.of("shop.fenced", "a newer run writes here")
            yield

    def close(self):
        self.db.close()


class Line:
    """A connection to the queue server."""

    def __init__(self, address: Path, queue: str) -> None:
        self.queue = queue
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(address))
        self.file = self.socket.makefile("rwb")

    def ask(self, op: str, **more):
        self.file.write(json.dumps({"op": op, "queue": self.queue, **more}).encode() + b"\n")
        self.file.flush()
        return json.loads(self.file.readline())

    def close(self):
        self.file.close()
        self.socket.close()


class Stable(Source[int], replay="redelivery", stable_ids=True, acknowledge_within="1h", max_in_flight=10_000):
    """Messages whose ids stay the same when they come again; those at or before the position were taken."""

    address: Path
    queue: str
    acks: Literal["once", "twice", "late"] = "once"

    def open(self):
        self.line, self.before = Line(self.address, self.queue), 0

    def plan(self):
        return {"id": int, "n": int}

    def read(self, position: int = 0):
        while given := self.line.ask("get", most=25):
            rows = [{"id": id, "n": n} for id, n in given if id > position]
            yield rows, given[-1][0]

    def acknowledge(self, split: Split, position: int):
        if self.acks == "late":
            position, self.before = self.before, position
        for _ in range(2 if self.acks == "twice" else 1):
            self.line.ask("acknowledge", up_to=position)

    def close(self):
        if hasattr(self, "line"):
            self.line.close()


class Changing(Source[Any], replay="redelivery", acknowledge_within="1h", max_in_flight=10_000):
    """Messages that come again under another name, so nobody can tell whether they were taken."""

    address: Path
    queue: str

    def open(self):
        self.line, self.session = Line(self.address, self.queue), uuid.uuid4().hex

    def plan(self):
        return {"n": int}

    def read(self, position: Any = None):
        while given := self.line.ask("get", most=25):
            yield [{"n": n} for _, n in given], [self.session, given[-1][0]]

    def acknowledge(self, split: Split, position: Any):
        session, last = position
        if session == self.session:
            self.line.ask("acknowledge", up_to=last)

    def close(self):
        if hasattr(self, "line"):
            self.line.close()


class Stopping(Numbers):
    """The same numbers; the first run is asked to stop (SIGTERM) after half of them."""

    def read(self, split: Split, position: int = 0, *, ctx):
        for rows, end in super().read(split, position):
            yield rows, end
            asked = ctx.path("asked-to-stop")
            if end >= self.count // 4 and not asked.exists():
                asked.touch()
                os.kill(os.getpid(), signal.SIGTERM)
                while not ctx.cancelled:
                    yield {name: values[:0] for name, values in rows.items()}, end


class Flaky(Sink[str], ability="staged", fencing="names"):
    """Files named when they are decided, which fails three times for each."""

    path: Path

    def open(self, ctx):
        self.folder = ctx.path(self.path)
        self.folder.mkdir(exist_ok=True)

    def begin(self, epoch, ctx):
        self.name, self.rows = ctx.name(epoch), []

    def write(self, batch: Batch):
        self.rows += batch.to_rows()

    def prepare(self, epoch):
        (self.folder / f".{self.name}").write_text("".join(json.dumps(row, default=str) + "\n" for row in self.rows))
        return self.name

    def commit(self, epoch, tokens):
        for name in tokens:
            tries = self.folder / f".{name}.tries"
            if (self.folder / f".{name}").exists():
                if not tries.exists() or tries.stat().st_size < 3:
                    with tries.open("a") as file:
                        file.write(".")
                    raise Retry("the target is away", after=0.001)
                (self.folder / f".{name}").rename(self.folder / f"{name}.jsonl")

    def abort(self, epoch, tokens):
        for name in tokens:
            (self.folder / f".{name}").unlink(missing_ok=True)


@processor
def even(batch: Batch, ctx: Context) -> Batch:
    """Odd numbers are refused until somebody has mended it."""
    if ctx.path("mended").exists():
        return batch
    return batch.reject(pc.equal(pc.bit_wise_and(batch["n"], 1), 1), "odd", "`n` must be even")
