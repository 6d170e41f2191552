"""A durable spool of one epoch: requests cut once, so that a repeated delivery never cuts them differently."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import Failed

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.split import Json


class SpoolWriter:
    """Writes requests to Arrow IPC streams, one file for each schema in a row. ``seal`` makes them durable."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._parts: list[_Part] = []
        self.rows = 0

    def write(self, batch: Batch) -> None:
        """One request."""
        if not self._parts or not self._parts[-1].schema.equals(batch.schema, check_metadata=True):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._close_last()
            self._parts.append(_Part(self._folder / f"{self._name}.spool.{len(self._parts)}", batch.schema))
        self._parts[-1].write(batch)
        self.rows += len(batch)

    def seal(self) -> list[dict[str, Json]]:
        """Close and fsync all files and their folder; the files by name, with requests and digest."""
        self._close_last()
        sync_folder(self._folder)
        return [part.sealed for part in self._parts]

    def discard(self) -> None:
        """Delete what was written."""
        self._close_last()
        for part in self._parts:
            part.path.unlink(missing_ok=True)

    def _close_last(self) -> None:
        if self._parts:
            self._parts[-1].close()


class _Part:
    def __init__(self, path: Path, schema: Any) -> None:
        import pyarrow as pa

        self.path = path
        self.schema = schema
        self.sealed: dict[str, Json] = {}
        self._file = path.open("xb")
        self._requests = 0
        self._stream = pa.ipc.new_stream(self._file, schema)

    def write(self, batch: Batch) -> None:
        self._stream.write_batch(batch.arrow)
        self._requests += 1

    def close(self) -> None:
        if self._file.closed:
            return
        self._stream.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.sealed = {"file": self.path.name, "requests": self._requests, "digest": digest_of(self.path)}


class Delivery:
    """The delivery of one spool: which requests are still to do. Survives a crash between any two of them."""

    def __init__(self, folder: Path, name: str, parts: list[dict[str, Json]]) -> None:
        self._folder = folder
        self._parts = parts
        self._progress = folder / f"{name}.spool.sent"
        self.total = sum(int(part["requests"]) for part in parts)
        self.done = self._read_progress()

    def waiting(self) -> Iterator[tuple[int, Batch]]:
        """Ordinal and rows of each request not yet done, in order.

        Raises Failed (``sink.spool_missing``, ``sink.spool_damaged``) where the spool is not what was prepared.
        """
        if self.done >= self.total:
            return
        ordinal = 0
        for part in self._parts:
            path = self._folder / str(part["file"])
            if ordinal + int(part["requests"]) > self.done:
                _check(path, str(part["digest"]))
                yield from self._of(path, ordinal)
            ordinal += int(part["requests"])

    def mark(self, done: int) -> None:
        """So many requests are done; durable on return."""
        aside = self._progress.with_suffix(".sending")
        with aside.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"done": done, "of": self.total}))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._progress)
        sync_folder(self._folder)
        self.done = done

    def forget_rows(self) -> None:
        """Delete the rows; that they were delivered stays known."""
        for part in self._parts:
            (self._folder / str(part["file"])).unlink(missing_ok=True)

    def _of(self, path: Path, first: int) -> Iterator[tuple[int, Batch]]:
        import pyarrow as pa

        from dataflare.batch import Batch

        with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
            for ordinal, arrow in enumerate(stream, first):
                if ordinal >= self.done:
                    yield ordinal, Batch(arrow)

    def _read_progress(self) -> int:
        try:
            return int(json.loads(self._progress.read_text(encoding="utf-8"))["done"])
        except FileNotFoundError:
            return 0


def delete_leftovers(folder: Path, owner: str, live: set[str], fence: int) -> None:
    """Delete the spools of ``owner`` that older fencing tokens left and no live one names."""
    for path, _, old in _spools(folder, owner):
        if old < fence and path.name.partition(".spool")[0] not in live:
            path.unlink(missing_ok=True)


def delete_records(folder: Path, owner: str, before: int) -> None:
    """Delete what is kept of deliveries of epochs before this one: those are settled."""
    for path, epoch, _ in _spools(folder, owner):
        if epoch < before and path.name.endswith(".sent"):
            path.unlink(missing_ok=True)


def _spools(folder: Path, owner: str) -> Iterator[tuple[Path, int, int]]:
    """Files, epochs and fencing tokens of the spools of ``owner`` (names as ``Context.name`` makes them)."""
    pattern = re.compile(rf"[^-]*-{re.escape(owner)}-(\d+)-(\d+)\.spool\.\w+")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if found := pattern.fullmatch(path.name):
            yield path, int(found[1]), int(found[2])


def digest_of(path: Path) -> str:
    """The BLAKE2 digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a no-op where folders cannot be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check(path: Path, digest: str) -> None:
    if not path.exists():
        raise Failed.of(
            "sink.spool_missing",
            f"the spool `{path.name}` is gone, and nothing says that it was delivered",
            cause=f"it was prepared in {path.parent}",
            fix="put the file back, or resolve the epoch with `dataflare state resolve`",
        )
    if digest_of(path) != digest:
        raise Failed.of(
            "sink.spool_damaged",
            f"the spool `{path.name}` is not what was prepared",
            cause=f"its digest differs; it lies in {path.parent}",
            fix="restore the file, or resolve the epoch with `dataflare state resolve`",
        )
