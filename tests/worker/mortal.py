"""A plugin of every kind, which dies where it is told: `dies` is ``OPERATION:NUMBER:HOW`` and a file, once for each."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from dataflare import Batch, Columns, Processor, Sink, Source, State


class Mortal:
    """Counts the calls of an operation over all lives, in a folder; ends this life at one of them."""

    def __init__(self, folder: str, dies: str) -> None:
        self.folder, self.dies = Path(folder), [each.split(":") for each in dies.split()]

    def call(self, operation: str) -> None:
        for word, number, how in self.dies:
            if word == operation:
                self._count(operation, int(number), how)

    def _count(self, operation: str, at: int, how: str) -> None:
        for number in range(1, at + 1):
            try:
                os.close(os.open(self.folder / f"{operation}-{number}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            if number == at:
                die(how)
            return


def die(how: str) -> None:
    if how == "exit":
        sys.exit(5)
    if how == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
    if how == "half":
        import fcntl

        for number in map(int, os.listdir("/proc/self/fd")):
            try:
                if number > 2 and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
                    os.write(number, b'\x40\x00\x00\x00{"outputs":')
            except OSError:
                pass
    os.kill(os.getpid(), signal.SIGKILL)


class Numbers(Source[int]):
    """Whole numbers, ten to a batch."""

    folder: str = ""
    dies: str = ""
    count: int = 200

    def open(self) -> None:
        self.mortal = Mortal(self.folder, self.dies)
        self.mortal.call("open")

    def read(self, position: int = 0):
        for start in range(position, self.count, 10):
            self.mortal.call("read")
            yield {"k": [n % 3 for n in range(start, start + 10)], "n": list(range(start, start + 10))}, start + 10
            self.mortal.call("read-on")


class Sums(Processor, by="key"):
    """A running total of `n` for each key; a number that ends with 7 is rejected."""

    key: Columns
    total: State[int]
    folder: str = ""
    dies: str = ""

    def open(self) -> None:
        self.mortal = Mortal(self.folder, self.dies)

    def process(self, batch: Batch) -> Batch:
        if not len(batch):
            return batch.with_column("total", [])
        self.mortal.call("process")
        batch = batch.reject([n % 10 == 7 for n in batch["n"].to_pylist()], "seven", "it ends with 7")
        sums = dict(zip(batch["k"].to_pylist(), self.total.get(batch), strict=True))
        running = []
        for key, number in zip(batch["k"].to_pylist(), batch["n"].to_pylist(), strict=True):
            sums[key] = (sums[key] or 0) + number
            running.append(sums[key])
        self.total.put(batch, running)
        self.mortal.call("processed")
        return batch.with_column("total", running)


class Numbered(Processor):
    """Numbers the rows; what it has counted is its snapshot."""

    folder: str = ""
    dies: str = ""
    seen = 0

    def open(self) -> None:
        self.seen = 0
        self.mortal = Mortal(self.folder, self.dies)

    def process(self, batch: Batch) -> Batch:
        if not len(batch):
            return batch.with_column("row", [])
        self.mortal.call("process")
        first, self.seen = self.seen, self.seen + len(batch)
        self.mortal.call("processed")
        return batch.with_column("row", list(range(first, self.seen)))

    def snapshot(self) -> bytes:
        self.mortal.call("snapshot")
        return str(self.seen).encode()

    def restore(self, data: bytes) -> None:
        self.seen = int(data)


class Shelf(Sink[str], ability="staged"):
    """Files of rows: staged aside, and moved to the shelf when their epoch is committed."""

    shelf: str
    folder: str = ""
    dies: str = ""

    def open(self) -> None:
        self.place = Path(self.shelf)
        self.place.mkdir(parents=True, exist_ok=True)
        self.mortal = Mortal(self.folder, self.dies)
        self.rows: list = []

    def begin(self, epoch: int) -> None:
        self.rows, self.epoch = [], epoch

    def write(self, batch: Batch) -> None:
        self.mortal.call("write")
        self.rows += batch.to_rows()
        self.mortal.call("written")

    def prepare(self) -> str:
        self.mortal.call("prepare")
        name = f"{self.epoch}-{os.urandom(8).hex()}"
        (self.place / f".{name}").write_text(json.dumps(self.rows))
        self.mortal.call("prepared")
        return name

    def commit(self, epoch: int, tokens: list[str]) -> None:
        self.mortal.call("commit")
        for token in tokens:
            if (aside := self.place / f".{token}").exists():
                aside.rename(self.place / f"{token}.json")
            self.mortal.call("committed")

    def recover(self) -> int | None:
        return max((int(file.name.partition("-")[0]) for file in self.place.glob("*.json")), default=None)
