"""A single Parquet file as target: it can only be written as a whole, so it appears when the flow has finished.

Until then each decided epoch stands in a hidden file beside it. At the end the rows that the file held before and all
epochs are written into a new one, which takes its name. A flow that runs on wants a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare import crash
from dataflare.context import Context
from dataflare.schema import Schema
from dataflare_std.files.staging import Staged, sync_folder, write_failed
from dataflare_std.files.target_lock import TargetLock
from dataflare_std.files.targets import (
    Settings,
    Token,
    existing_rule,
    new_staged,
    not_empty,
    safe,
    staged_missing,
    staged_name,
    sweep,
    target_changed,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.split import Resume


class ParquetFile:
    """Keeps decided epochs aside and makes one Parquet file of them at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.path = settings.path
        self._lock: TargetLock | None = None
        self._staged: Staged | None = None
        self._parts: list[str] = []
        self._size: int | None = None
        self._schema: pa.Schema | None = None

    def open(self, ctx: Context, resume: Resume) -> None:
        """Take the lock; find the epochs that wait to become a file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = TargetLock(self.path.with_name(f".{self.path.name}.lock"), self.path, ctx)
        token: Token | None = next(iter(resume.tokens.values()), None)
        if token is None:
            rule = existing_rule(resume)
            if self.path.exists() and rule is None:
                raise not_empty(self.path)
            self._size = self.path.stat().st_size if self.path.exists() and rule == "append" else None
        else:
            self._adopt(token)
        live = {token["staged"]} if token and token["staged"] else set()
        sweep(self.path.parent, self.path.name, ctx, live)

    def planned(self, schema: list[str]) -> None:
        """Nothing: the schema comes with the rows."""

    def begin(self) -> None:
        """Forget a staged file of an epoch that was not prepared."""
        if self._staged is not None:
            self._staged.drop()
            self._staged = None

    def write(self, rows: pa.RecordBatch, ctx: Context) -> None:
        """Stage rows."""
        if self._staged is None:
            name = staged_name(self.path.name, ctx, ctx.epoch)
            self._staged = new_staged(self.settings, self.path.parent, name)
        self._staged.write(rows)
        self._schema = rows.schema

    def prepare(self, epoch: int, last: bool, ctx: Context) -> Token:
        """Make the staged rows durable; at the end, as one file with all rows before them."""
        staged, self._staged = self._staged, None
        rows = staged.rows if staged is not None else 0
        if staged is not None:
            staged.seal()
        name = staged.path.name if staged is not None else None
        part = f".{self.path.name}.{safe(ctx.incarnation[:8])}-{epoch:010d}.part" if name else None
        token: Token = {"staged": name, "part": part, "parts": self._parts, "rows": rows}
        token |= {"whole": False, "size": self._size}
        if last and (name or self._parts or self._size is None):
            whole = new_staged(self.settings, self.path.parent, staged_name(self.path.name, ctx, epoch, 1))
            self._assemble(whole, name)
            if name:
                self.path.with_name(name).unlink()
            token |= {"staged": whole.path.name, "part": None, "whole": True, "size": whole.bytes}
        return token

    def commit(self, token: Token) -> None:
        """Keep the epoch's rows aside, or give the whole file its name."""
        assert self._lock is not None
        self._lock.check()
        try:
            self._publish(token)
        except OSError as error:
            raise write_failed(error, self.path) from error
        if token["part"] is not None and token["part"] not in self._parts:
            self._parts = [*self._parts, token["part"]]

    def committed(self, tokens: list[Token]) -> None:
        """Nothing: the file is all there is."""

    def abort(self, tokens: list[Token]) -> None:
        """Throw away what is staged."""
        self.begin()
        for token in tokens:
            if token["staged"]:
                self.path.with_name(token["staged"]).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        self.begin()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _adopt(self, token: Token) -> None:
        self._size = token["size"]
        done = [*token["parts"], token["part"]] if token["part"] else token["parts"]
        self._parts = [] if token["whole"] else list(done)
        waiting = token["staged"] and self.path.with_name(token["staged"]).exists()
        there = self.path.stat().st_size if self.path.exists() else None
        if not waiting and self._size is not None and there != self._size:
            raise target_changed(self.path, f"it held {self._size:,} bytes, now there is {there or 'nothing'}")

    def _publish(self, token: Token) -> None:
        if token["staged"] is None:
            return
        staged = self.path.with_name(token["staged"])
        final = self.path if token["whole"] else self.path.with_name(token["part"])
        if staged.exists():
            staged.replace(final)
            crash.point("sink-publish")
            sync_folder(final.parent)
        elif not final.exists() or (token["whole"] and final.stat().st_size != token["size"]):
            raise staged_missing(self.path, staged.name)
        if token["whole"]:
            for part in token["parts"]:
                self.path.with_name(part).unlink(missing_ok=True)
            self._parts, self._size = [], token["size"]

    def _assemble(self, whole: Staged, staged: str | None) -> None:
        names = [*([self.path.name] if self._size is not None else []), *self._parts, *([staged] if staged else [])]
        files = [self.path.with_name(name) for name in names]
        schema = self._schema
        for file in files:
            schema = _schema_of(file) if schema is None else Schema(_schema_of(file)).union(Schema(schema)).arrow
        for rows in _rows_of(files):
            whole.write(rows if schema is None or rows.schema.equals(schema) else _widened(rows, schema))
        whole.seal(schema if schema is not None else Schema({}).arrow)


def _schema_of(file: Path) -> pa.Schema:
    import pyarrow.parquet as arrow_parquet

    return arrow_parquet.read_schema(file)


def _rows_of(files: list[Path]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as arrow_parquet

    for file in files:
        with arrow_parquet.ParquetFile(file) as opened:
            yield from opened.iter_batches(use_threads=False)


def _widened(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    from dataflare.batch import Batch

    return Batch(rows).cast(schema).arrow
