"""Rows through the standard streams of the process, as JSON lines."""

from __future__ import annotations

import json
import os
import select
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dataflare import Batch, Bytes, ConfigError, Context, Demand, Failed, Idle, Refused, Sink, Source, Split, field
from dataflare.json_rows import to_json_rows

CHUNK = 1 << 20
SHOWN = 1 << 16
_THIS_INPUT = f"stdin-{uuid.uuid4()}"
"""Names what is piped into this process: the next process gets other rows, which are not read yet."""


class StdioSource(Source, name="stdio", replay="none"):
    """Read JSON lines from standard input until it ends. What was read cannot be read again after a crash."""

    max_line: Bytes = field(
        default=16 << 20, help="A longer line is refused, without being kept in memory.", advanced=True
    )

    def splits(self) -> list[Split]:
        """The standard input of this process is one split."""
        return [Split(_THIS_INPUT)]

    def read(self, split: Split, demand: Demand, ctx: Context) -> Iterator[Any]:
        """Rows as their lines arrive; ``Idle`` while nothing comes. What an earlier process left unread is gone."""
        if split.id != _THIS_INPUT:
            return
        lines = _Lines(self.max_line)
        descriptor = _stdin()
        while not ctx.cancelled:
            if not select.select([descriptor], [], [], max(0.0, demand.until - time.monotonic()))[0]:
                yield Idle()
                continue
            chunk = os.read(descriptor, CHUNK)
            rows: list[dict[str, Any]] = []
            for read in lines.last() if not chunk else lines.of(chunk):
                if isinstance(read, Refused):
                    yield read
                    continue
                rows.append(read)
                if len(rows) >= demand.rows:
                    yield rows
                    rows = []
            if rows:
                yield rows
            if not chunk:
                return


class StdioSink(Sink, name="stdio", ability="append", shared="process"):
    """Write rows to standard output as JSON lines; after a crash some may come again."""

    def write(self, batch: Batch) -> None:
        """Write the rows. Raises Failed: ``stdio.closed`` if nobody reads any more, ``stdio.not_writable``."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in to_json_rows(batch))
        with _output():
            _write_all(text)

    def commit(self) -> None:
        """Make sure that everything has left the process."""
        with _output():
            sys.stdout.flush()


class _Lines:
    """JSON rows of a stream that comes in pieces."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""
        self._skipping = False
        self._number = 0

    def of(self, chunk: bytes) -> Iterator[dict[str, Any] | Refused]:
        """The rows that this piece completes."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = b""
        for line in lines:
            yield from self._one(line)
        self._rest = rest
        if len(rest) > self._longest:
            if not self._skipping:
                yield self._too_long(rest, self._number + 1)
            self._skipping, self._rest = True, b""

    def last(self) -> Iterator[dict[str, Any] | Refused]:
        """The row without a newline at the end."""
        if self._rest and not self._skipping:
            yield from self._one(self._rest)

    def _one(self, line: bytes) -> Iterator[dict[str, Any] | Refused]:
        self._number += 1
        if self._skipping:
            self._skipping = False
            return
        if len(line) > self._longest:
            yield self._too_long(line, self._number)
            return
        if not line.strip():
            return
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Refused("stdio.bad_json", str(error), line[:SHOWN], {"line": self._number})
            return
        if isinstance(row, dict):
            yield row
        else:
            cause = f"the line holds {type(row).__name__}, not an object"
            yield Refused("stdio.not_an_object", cause, line[:SHOWN], {"line": self._number})

    def _too_long(self, line: bytes, number: int) -> Refused:
        return Refused(
            "stdio.line_too_long", f"a line has more than {self._longest} bytes", line[:SHOWN], {"line": number}
        )


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise Failed.of("stdio.closed", "nobody reads the standard output any more", cause=str(error)) from error
    except OSError as error:
        fix = "free some space, or send it elsewhere"
        message = "the standard output cannot be written"
        raise Failed.of("stdio.not_writable", message, cause=str(error), fix=fix) from error


def _write_all(text: str) -> None:
    """Write to standard output to the last byte: an unbuffered one takes what it has room for, and says so."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    rest = memoryview(text.encode())
    while rest:
        rest = rest[binary.write(rest) or 0 :]
    binary.flush()


def _stdin() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError) as error:
        raise ConfigError.of(
            "stdio.no_input",
            "this process has no standard input to read from",
            cause=str(error) or type(error).__name__,
            fix="pipe rows into `dataflare run`, or read a file with std/files",
        ) from error
