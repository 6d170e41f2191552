"""Driving sinks: epochs, tokens and rejects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from dataflare.batch import Batch, Rejected
from dataflare.component import Sink
from dataflare.context import Context
from dataflare.drive.base import Driver
from dataflare.drive.collect import merged
from dataflare.drive.results import base_argument
from dataflare.drive.rowwise import Rows
from dataflare.errors import Failed, Reject, Retry
from dataflare.json_types import JsonType
from dataflare.schema import Schema
from dataflare.split import Json, Resume

TOKEN_LIMIT = 64 * 1024


class SinkDriver(Driver):
    """Drives a sink."""

    component: Sink[Any]

    def __init__(self, component: Sink[Any], ctx: Context) -> None:
        super().__init__(component, ctx)
        kind = base_argument(type(component), Sink)
        self.token = JsonType(kind if kind is not None else self.operation("prepare").annotation("return"), "token")
        self.each = str(component.spec.get("each", "batch"))
        self._rows: Rows | None = None

    def open(self, resume: Resume | None = None) -> None:
        """Resolve resources, call ``open`` with the live tokens in the author's type."""
        resume = resume or Resume()
        tokens = {lane: self.token.load(token) for lane, token in resume.tokens.items()}
        super().open(replace(resume, tokens=tokens))

    def plan(self, schema: Schema) -> None:
        """The component's ``plan``. Raises ConfigError."""
        if self.has("plan"):
            self.invoke("plan", schema=schema)

    def begin(self, epoch: int) -> None:
        """Start an epoch."""
        self.ctx.epoch = epoch
        if self.has("begin"):
            self.invoke("begin", epoch=epoch)

    def write(self, batch: Batch) -> list[Rejected]:
        """Write rows; rejects are indices into ``batch``."""
        batch = batch.as_input()
        if self.each == "row":
            return self._by_row(batch)
        place = {"epoch": self.ctx.epoch, "stream": batch.envelope.stream, "schema": Schema(batch.schema)}
        self.invoke("write", batch=batch, **place)
        return merged(batch.ledger.entries)

    def prepare(self, epoch: int, last: bool) -> Json:
        """The token, as JSON. Raises Failed (``sink.token_too_large``) above 64 KiB."""
        if not self.has("prepare"):
            return None
        token = self.token.dump(self.invoke("prepare", epoch=epoch, last=last))
        size = len(json.dumps(token).encode())
        if size > TOKEN_LIMIT:
            raise Failed.of(
                "sink.token_too_large",
                f"the token of `{self.component.spec.name}` for epoch {epoch} has {size} bytes",
                cause=f"allowed are {TOKEN_LIMIT}",
                fix="write the details aside and name them in the token",
            )
        return token

    def commit(self, epoch: int, tokens: Sequence[Json]) -> None:
        """Publish. A lane whose ``prepare`` gave None has nothing to commit: its token is left out."""
        if self.has("commit"):
            self.invoke("commit", epoch=epoch, **self._tokens(tokens))

    def abort(self, epoch: int, tokens: Sequence[Json]) -> None:
        """Undo."""
        if self.has("abort"):
            self.invoke("abort", epoch=epoch, **self._tokens(tokens))

    def recover(self) -> int | None:
        """The epoch that the target holds."""
        return self.invoke("recover") if self.has("recover") else None

    def readback(self, stream: str = "") -> Iterator[Batch]:
        """The rows in the target. Raises NotImplementedError where the sink cannot read them."""
        for rows in self.items(self.settled(self.component.readback(stream))):
            yield Batch.of(rows)

    def snapshot(self) -> bytes | None:
        """The component's own snapshot, if it has one."""
        data = self.invoke("snapshot") if self.has("snapshot") else None
        return None if data is None else bytes(data)

    def restore(self, data: bytes, version: int) -> None:
        """Continue from a snapshot."""
        self.invoke("restore", data=data, version=version)

    def _tokens(self, tokens: Sequence[Json]) -> dict[str, Any]:
        live = [self.token.load(token) for token in tokens if token is not None]
        return {"tokens": live, "token": live[0] if live else None}

    def _by_row(self, batch: Batch) -> list[Rejected]:
        import pyarrow as pa

        operation = self.operation("write")
        if self._rows is None:
            self._rows = Rows(operation.annotation("row"))
        given = {"ctx": self.ctx, **self.resources_of(operation), "epoch": self.ctx.epoch}
        write = operation.prepared(given, "row")
        refused: dict[tuple[str, str], list[int]] = {}
        for index, row in enumerate(self._rows.of(batch)):
            try:
                if isinstance(row, Reject):
                    raise row
                self.settled(write(row))
            except Reject as reason:
                refused.setdefault((reason.code, reason.message), []).append(index)
            except Retry as later:
                raise _the_rest(later, batch, index, refused) from later
        return [Rejected(pa.array(rows, pa.int64()), *reason) for reason, rows in refused.items()]


def _the_rest(later: Retry, batch: Batch, index: int, refused: dict[tuple[str, str], list[int]]) -> Retry:
    """Ask again from this row on; rows refused before are given again, so that they are refused again."""
    again = {row for rows in refused.values() for row in rows}
    return Retry(later.after, later, rows=[row >= index or row in again for row in range(len(batch))])
