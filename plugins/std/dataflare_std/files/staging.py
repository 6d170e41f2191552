"""Files written aside: rows go into a hidden file that no attempt shares, and become visible only when decided."""

from __future__ import annotations

import errno
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import Failed
from dataflare_std.files import text_out

if TYPE_CHECKING:
    import polars
    import pyarrow as pa

GROUP_ROWS = 122_880
GROUP_BYTES = 32 << 20
SYNC_BYTES = 16 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_failed(error: OSError, path: Path) -> Failed:
    """The failure of a write as a problem: ``files.disk_full`` or ``files.not_writable``."""
    if error.errno in _FULL:
        return Failed.of(
            "files.disk_full",
            f"there is no room to write `{path}`",
            cause=str(error),
            fix="free some space; the flow then goes on from its last epoch",
        )
    return Failed.of(
        "files.not_writable",
        f"`{path}` cannot be written",
        cause=str(error),
        fix="give this user the right to write there, or correct `path`",
    )


def _numbered(error: OSError) -> OSError:
    """The error with its number, which Polars tells in its text only."""
    found = re.search(r"os error (\d+)", str(error)) if error.errno is None else None
    return error if found is None else OSError(int(found[1]), os.strerror(int(found[1])))


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class Durable:
    """Makes a file durable beside the writing, so that little is left to wait for at its end."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def wrote(self, size: int) -> None:
        """So many bytes were added."""
        self._bytes += size
        if self._bytes >= SYNC_BYTES and (self._thread is None or not self._thread.is_alive()):
            self._bytes = 0
            self._thread = threading.Thread(target=self._sync, name="sync", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Nothing touches the file any more when this returns."""
        if self._thread is not None:
            self._thread.join()

    def finish(self) -> None:
        """Make all of it durable. Raises OSError, also that of a sync before, which the system tells only once."""
        self.wait()
        if self._error is not None:
            raise self._error
        os.fsync(self._file)

    def _sync(self) -> None:
        try:
            os.fdatasync(self._file)
        except OSError as error:
            self._error = self._error or error


class Staged:
    """One hidden file being written. ``rows`` and ``bytes`` are what it holds so far.

    Raises Failed: ``files.disk_full``, ``files.not_writable``.
    """

    def __init__(self, path: Path, form: str, delimiter: str = ",") -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self._form = form
        self._delimiter = delimiter
        self._groups: list[pa.RecordBatch] = []
        self._writer: Any = None
        try:
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise write_failed(error, path) from error
        self._durable = Durable(self._file.fileno())

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows."""
        if self._form == "parquet":
            self._add_group(rows)
        elif self._form == "csv":
            self.append(text_out.csv_rows(rows, self._delimiter))
        elif (frame := text_out.json_frame(rows)) is not None:
            self._write_frame(frame)
        else:
            self.append(text_out.json_lines(rows))
        self.rows += rows.num_rows

    def append(self, data: bytes) -> None:
        """Add bytes as they are."""
        view = memoryview(data)
        try:
            while view:
                written = self._file.write(view)
                view = view[written:]
        except OSError as error:
            raise write_failed(error, self.path) from error
        self.bytes += len(data)
        self._durable.wrote(len(data))

    def seal(self, schema: pa.Schema | None = None) -> None:
        """End the file and make it durable; ``schema`` is that of a Parquet file without rows."""
        try:
            if self._form == "parquet":
                self._flush_groups(schema)
                if self._writer is not None:
                    self._writer.close()
            self._durable.finish()
            self.bytes = os.fstat(self._file.fileno()).st_size
            self._file.close()
            sync_folder(self.path.parent)
        except OSError as error:
            raise write_failed(error, self.path) from error

    def drop(self) -> None:
        """Throw the file away."""
        self._writer = None
        self._groups.clear()
        self._durable.wait()
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write_frame(self, frame: polars.DataFrame) -> None:
        """Let Polars write the lines: it writes to the file itself, while bytes would be copied twice on their way."""
        try:
            frame.write_ndjson(self._file)
            end = self._file.tell()
        except OSError as error:
            raise write_failed(_numbered(error), self.path) from error
        self._durable.wrote(end - self.bytes)
        self.bytes = end

    def _add_group(self, rows: pa.RecordBatch) -> None:
        self._groups.append(rows)
        held = sum(part.num_rows for part in self._groups)
        size = sum(part.nbytes for part in self._groups)
        if held >= GROUP_ROWS or size >= GROUP_BYTES:
            self._flush_groups(None)
            self.bytes = self._file.tell()

    def _flush_groups(self, schema: pa.Schema | None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as arrow_parquet

        groups, self._groups = self._groups, []
        found = groups[0].schema if groups else schema
        if self._writer is None and found is not None:
            self._writer = arrow_parquet.ParquetWriter(self._file, found, compression="zstd")
        if groups:
            self._writer.write_table(pa.Table.from_batches(groups), row_group_size=GROUP_ROWS)
