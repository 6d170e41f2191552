"""A shop in one file: a source of orders, a step and a sink. Nothing is packaged or registered."""

import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.compute as pc

from dataflare import Batch, Context, Resume, Sink, field, processor, source


@source
def orders(position: int = 0, *, count: int = 1_000, step: int = 100) -> Iterator[object]:
    """Made-up orders, `step` to a batch; one in fifty has a negative price."""
    for start in range(position, count, step):
        end = min(start + step, count)
        yield [_order(number) for number in range(start, end)], end  # the rows, and where to resume after them


def _order(number: int) -> dict[str, object]:
    made = random.Random(number)  # the same order for the same number: what is read again must be the same
    net = round(made.uniform(1, 200), 2) * (-1 if number % 50 == 49 else 1)
    return {"id": number, "country": made.choice(["DE", "FR", "NL"]), "net": net}


@processor
def with_vat(batch: Batch, *, rate: float = 0.2) -> Batch:
    """Add the column `gross`; a negative `net` is rejected."""
    batch = batch.reject(pc.less(batch["net"], 0), "negative_net", "`net` must not be negative")
    return batch.with_column("gross", pc.round(pc.multiply(batch["net"], 1 + rate), 2))


class Ledger(Sink[str], ability="staged", fencing="names"):
    """One file of JSON lines an epoch: written aside, and published by its name when the epoch is decided."""

    path: Path = field(help="The folder in which the finished files appear.")

    def open(self, ctx: Context, resume: Resume) -> None:
        """Remember the folder, and sweep away what attempts before this one left unfinished."""
        self._folder = ctx.path(self.path)
        self._folder.mkdir(parents=True, exist_ok=True)
        for staged in self._folder.glob(".*.staged"):
            if staged.name not in resume.tokens.values():
                staged.unlink()

    def begin(self, epoch: int, ctx: Context) -> None:
        """Open a file under a name that no other attempt uses."""
        self._file = (self._folder / f".{ctx.name(epoch)}.staged").open("x", encoding="utf-8")

    def write(self, batch: Batch) -> None:
        """A line for each row."""
        self._file.writelines(json.dumps(row) + "\n" for row in batch.to_rows())

    def prepare(self, epoch: int) -> str:
        """Make the file durable; its name is all that `commit` needs."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._sync()
        return Path(self._file.name).name

    def commit(self, epoch: int, tokens: Sequence[str]) -> None:
        """Give the files their final names. A commit may come again: then there is nothing left to do."""
        for token in tokens:
            staged, final = self._folder / token, self._folder / self._published(token)
            if staged.exists():
                staged.rename(final)
            elif not final.exists():
                raise FileNotFoundError(f"{staged} is gone, and {final} is not there")
        self._sync()

    def abort(self, epoch: int, tokens: Sequence[str]) -> None:
        """Delete what was written."""
        written = [self._file.name] if hasattr(self, "_file") else []
        for path in [*map(Path, written), *(self._folder / token for token in tokens)]:
            path.unlink(missing_ok=True)

    def readback(self, stream: str) -> Iterator[list[dict[str, object]]]:
        """The published rows, for the conformance suite."""
        for file in sorted(self._folder.glob("*.jsonl")):
            yield [json.loads(line) for line in file.read_text("utf-8").splitlines()]

    def close(self) -> None:
        """Close the file of an epoch that was never prepared."""
        if hasattr(self, "_file"):
            self._file.close()

    @staticmethod
    def _published(token: str) -> str:
        return token.removeprefix(".").removesuffix(".staged") + ".jsonl"

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
