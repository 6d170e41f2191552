"""Stepping a sink through epochs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflare.batch import Batch
from dataflare.context import Context
from dataflare.drive import SinkDriver
from dataflare.errors import Reject
from dataflare.schema import Schema
from dataflare.split import Json, Resume
from dataflare.testing.bench import Rejection, rejections
from dataflare.testing.surroundings import context, drive


@dataclass
class Written:
    """The tokens of the epochs, the refused rows, and what the target holds (where the sink can read it back)."""

    tokens: list[Json] = field(default_factory=list)
    rejects: list[Rejection] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


class Epochs:
    """One instance of a sink between ``open`` and ``close``, stepped through epochs; use it in a ``with``.

    ``fence`` is the fencing token: a restarted instance has a higher one, and gets the live ``tokens`` of ``epoch``.
    ``made``: ``{"existing": "append"}`` lets a fresh one onto a target that holds rows.
    """

    def __init__(
        self,
        sink: Any,
        *,
        fence: int = 1,
        epoch: int = 0,
        tokens: dict[str, Json] | None = None,
        made: Json = None,
        ctx: Context | None = None,
        **config: Any,
    ) -> None:
        self._folder = None if ctx is not None else tempfile.TemporaryDirectory(prefix="dataflare-")
        self.ctx = ctx or context(Path(self._folder.name) if self._folder else None)
        self.ctx.fence = fence
        self.driver: SinkDriver = drive(sink, SinkDriver, self.ctx, config)
        self.rejects: list[Rejection] = []
        self._planned: Any = None
        self.driver.open(Resume(epoch, tokens or {}, made, incarnation=self.ctx.incarnation))

    def __enter__(self) -> Epochs:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the component."""
        self.driver.close()
        if self._folder is not None:
            self._folder.cleanup()

    def write(self, epoch: int, *batches: Any) -> None:
        """Begin an epoch and write batches (rows in any form)."""
        self.driver.begin(epoch)
        for rows in batches:
            batch = Batch.of(rows)
            if self._planned is None or not self._planned.equals(batch.schema):
                self._planned = batch.schema
                self.driver.plan(Schema(batch.schema))
            try:
                self.rejects += rejections(self.driver.write(batch), batch)
            except Reject as reason:
                self.rejects += [Rejection(row, reason.code, reason.message) for row in batch.to_rows()]

    def prepare(self, epoch: int, *batches: Any, last: bool = False) -> Json:
        """Write an epoch and prepare it; the token."""
        self.write(epoch, *batches)
        return self.driver.prepare(epoch, last)

    def commit(self, epoch: int, *tokens: Json) -> None:
        """Publish what was prepared."""
        self.driver.commit(epoch, tokens)

    def abort(self, epoch: int, *tokens: Json) -> None:
        """Undo what was written or prepared."""
        self.driver.abort(epoch, tokens)

    def rows(self, stream: str = "") -> list[dict[str, Any]]:
        """What the target holds. Raises NotImplementedError where the sink cannot read it back."""
        return [row for batch in self.driver.readback(stream) for row in batch.to_rows()]


def write(sink: Any, *epochs: Any, ctx: Context | None = None, **config: Any) -> Written:
    """Write epochs to a sink and commit each: ``write(files, [{"n": 1}], [{"n": 2}], path=tmp_path / "a.jsonl")``.

    Each positional argument is the rows of one epoch (or a list of its batches), everything else by keyword is the
    sink's configuration.
    """
    with Epochs(sink, ctx=ctx, **config) as stepped:
        written = Written()
        for epoch, rows in enumerate(epochs, 1):
            batches = rows if isinstance(rows, list) and rows and isinstance(rows[0], Batch) else [rows]
            token = stepped.prepare(epoch, *batches, last=epoch == len(epochs))
            stepped.commit(epoch, token)
            written.tokens.append(token)
        written.rejects = stepped.rejects
        if stepped.driver.has("readback"):
            written.rows = stepped.rows()
        return written
