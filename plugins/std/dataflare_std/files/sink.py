"""The sink `files`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.batch import Batch
from dataflare.component import Sink
from dataflare.config import field
from dataflare.context import Context
from dataflare.errors import ConfigError, DataflareError, Problem
from dataflare.schema import Schema
from dataflare.split import Demand, Resume
from dataflare.types import Bytes, Columns
from dataflare_std.files.dataset import Dataset, restored
from dataflare_std.files.folder import Folder
from dataflare_std.files.listing import FORMATS, format_of
from dataflare_std.files.one_file import OneFile
from dataflare_std.files.parquet_file import ParquetFile
from dataflare_std.files.staging import write_failed
from dataflare_std.files.targets import Settings, Token

if TYPE_CHECKING:
    import pyarrow as pa


def _may_be_csv(config: Mapping[str, Any]) -> bool:
    return config.get("format") in (None, "csv")


@dataclass(frozen=True)
class Roll:
    """When a file of a folder is full: after so many rows or bytes."""

    rows: int | None = None
    bytes: Bytes | None = None


class Files(Sink[dict[str, Any]], ability="staged", fencing="lock"):
    """Writes files: JSON lines, CSV or Parquet; rows are visible once their epoch is decided.

    `path` with a `/` at the end, or a folder that exists: each epoch becomes files of that folder. Else one file, to
    which each epoch is appended; a single Parquet file appears when the flow has finished.
    """

    path: str = field(min_length=1, help="A file, or a folder (ending in `/`); relative to the flow file.")
    format: str | None = field(default=None, choices=FORMATS, help="By default told from the file's name.")
    columns: Columns | None = field(default=None, help="Write only these columns, in this order.")
    roll: Roll | None = field(default=None, advanced=True, help="When a folder's file is full: {rows, bytes}.")
    partition_by: Columns = field(
        default=(),
        advanced=True,
        help="For a folder: columns whose values become subfolders (`day=2026-01-31/`) and are not in the files.",
    )
    manifest: bool | None = field(
        default=None,
        advanced=True,
        help="For a folder: list the files of each epoch in `_manifest/`. By default for Parquet.",
    )
    delimiter: str = field(default=",", when=_may_be_csv, min_length=1, max_length=1, help="What separates fields.")

    def check(self, ctx: Context) -> Iterator[Problem]:
        try:
            settings = self._settings(ctx)
        except DataflareError as error:
            yield from error.problems
            return
        folder = settings.path if self._is_folder(ctx) else settings.path.parent
        there = next(place for place in [folder, *folder.parents] if place.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield Problem(
                "files.not_writable",
                f"`{folder}` cannot be written",
                pointer="/path",
                cause=f"`{there}` is {'closed to this user' if there.is_dir() else 'not a folder'}",
                fix="give this user the right to write there, or correct `path`",
            )

    def plan(self, schema: Schema, ctx: Context) -> None:
        """Refuses columns that are not there (``files.unknown_column``) and types that the format cannot hold."""
        settings = self._settings(ctx)
        if ctx.lane and not self._is_folder(ctx):
            raise ConfigError.of("files.one_lane", "one file is written by one lane", fix="write to a folder instead")
        problems = [
            Problem(
                "files.unknown_column",
                f"there is no column `{name}` to write",
                pointer="/columns",
                cause=f"the columns are {', '.join(f'`{known}`' for known in schema.names)}",
                fix="correct `columns`",
            )
            for name in self.columns or ()
            if name not in schema and not schema.open
        ]
        problems += self._partition_problems(schema, ctx)
        chosen = [item for item in schema if not self.columns or item.name in self.columns]
        problems += [_unfit(item, settings.form) for item in chosen if not _fits(item.type, settings.form)]
        if problems:
            raise ConfigError(*problems)
        self._names = list(self.columns or schema.names)

    def needs(self, schema: Schema) -> frozenset[str] | None:
        return frozenset(self.columns) if self.columns else None

    def open(self, ctx: Context, resume: Resume) -> None:
        settings = self._settings(ctx)
        try:
            self._target = self._target_of(settings, ctx)
            self._target.open(ctx, resume)
        except OSError as error:
            self.close()
            raise write_failed(error, settings.path) from error
        except BaseException:
            self.close()
            raise

    def begin(self, epoch: int) -> None:
        self._target.begin()

    def write(self, batch: Batch, ctx: Context) -> None:
        rows = batch.select(self.columns) if self.columns else batch
        self._target.write(rows.arrow, ctx)

    def prepare(self, epoch: int, last: bool, ctx: Context) -> Token:
        self._target.planned(getattr(self, "_names", []))
        return self._target.prepare(epoch, last, ctx)

    def commit(self, tokens: list[Token]) -> None:
        for token in tokens:
            self._target.commit(token)
        self._target.committed(tokens)

    def abort(self, tokens: list[Token]) -> None:
        self._target.abort(tokens)

    def close(self) -> None:
        target: Folder | ParquetFile | OneFile | None = getattr(self, "_target", None)
        if target is not None:
            target.close()

    def readback(self, stream: str) -> Iterator[Any]:
        """The published rows."""
        target = self._target
        if isinstance(target, Dataset):
            for manifest in target.manifests():
                for file in manifest["files"]:
                    for rows in _read(target.path / file["path"], target.settings):
                        yield restored(Batch.of(rows).arrow, manifest["columns"], file.get("partition", {}))
        elif isinstance(target, Folder) or target.path.exists():
            yield from _read(target.path, target.settings)

    def _partition_problems(self, schema: Schema, ctx: Context) -> Iterator[Problem]:
        if self.partition_by and not self._is_folder(ctx):
            yield Problem(
                "files.partition_folder",
                "only a folder has partitions",
                pointer="/partition_by",
                fix="end `path` with a `/`",
            )
        names = list(self.columns or schema.names)
        for name in self.partition_by:
            if name not in names and not schema.open:
                yield Problem(
                    "files.unknown_column",
                    f"there is no column `{name}` to partition by",
                    pointer="/partition_by",
                    fix="name a column that is written",
                )
            elif name in schema and not _partitions(schema.arrow.field(name).type):
                yield Problem(
                    "files.partition_type",
                    f"`{name}` is {schema.arrow.field(name).type}, which makes no good name for a folder",
                    pointer="/partition_by",
                    fix="partition by text, whole numbers, dates or truth values",
                )
        if names and not set(names).difference(self.partition_by):
            yield Problem(
                "files.partition_all",
                "nothing is left to write: all columns are in `partition_by`",
                pointer="/partition_by",
                fix="leave one out",
            )

    def _target_of(self, settings: Settings, ctx: Context) -> Folder | ParquetFile | OneFile:
        if not self._is_folder(ctx):
            return ParquetFile(settings) if settings.form == "parquet" else OneFile(settings)
        wanted = self.manifest if self.manifest is not None else settings.form == "parquet"
        return Dataset(settings, self.partition_by) if wanted or self.partition_by else Folder(settings)

    def _is_folder(self, ctx: Context) -> bool:
        return self.path.endswith(("/", os.sep)) or ctx.path(self.path).is_dir()

    def _settings(self, ctx: Context) -> Settings:
        path = ctx.path(self.path)
        tabs = path.suffix.lower() == ".tsv" and self.delimiter == ","
        roll = self.roll or Roll()
        form = format_of(self.path, self.format)
        return Settings(path, form, "\t" if tabs else self.delimiter, roll.rows, roll.bytes)


def _read(path: Path, settings: Settings) -> Iterator[Any]:
    """The rows of a file or folder, as the source reads them."""
    from dataflare_std.files.source import Files as Source

    ctx = Context(base=path.parent)
    source = Source(path=str(path), format=settings.form, delimiter=settings.delimiter)
    source.open(ctx)
    try:
        for splits, _ in source.splits(ctx):
            for split in splits:
                for item in source.read(split, Demand(1 << 20, 1 << 30, float("inf")), None, ctx):
                    if isinstance(item, tuple):
                        yield item[0]
    finally:
        source.close()


def _partitions(kind: pa.DataType) -> bool:
    import pyarrow.types as is_

    return bool(is_.is_string(kind) or is_.is_integer(kind) or is_.is_date32(kind) or is_.is_boolean(kind))


def _fits(kind: pa.DataType, form: str) -> bool:
    import pyarrow as pa

    is_ = pa.types
    if is_.is_interval(kind) or is_.is_union(kind):
        return False
    nested = is_.is_nested(kind)
    return not (form == "csv" and nested)


def _unfit(item: pa.Field, form: str) -> Problem:
    return Problem(
        "files.type_unsupported",
        f"`{item.name}` is {item.type}, which {form} cannot hold",
        fix="leave it out with `columns`, turn it into text, or choose another `format`",
    )
