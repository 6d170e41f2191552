"""Line-aligned blocks of a byte range, with their exact places.

A range owns the lines that start in it, so ranges of one file never share and never lose a line. Blocks end behind a
newline; only the last line of a file may lack one. A line above the limit is skipped without being held.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

STEP = 1 << 20
TAIL = 64 << 10
SHOWN = 64 * 1024


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, from byte ``start`` to ``end``.

    ``view`` are their bytes, not copied: it holds them only until the next block is read.
    """

    view: memoryview
    start: int
    end: int

    @property
    def data(self) -> bytes:
        """The bytes of the lines, copied."""
        return bytes(self.view)


@dataclass(frozen=True)
class TooLong:
    """A line above the limit: where it starts and ends, and its first bytes."""

    head: bytes
    start: int
    end: int


class Room:
    """Memory that blocks are read into, one at a time: fresh memory for each costs more than the reading."""

    def __init__(self) -> None:
        self._held = bytearray()

    def of(self, size: int) -> bytearray:
        """At least so many bytes; what was there before is lost."""
        if len(self._held) < size:
            self._held = bytearray(size + size // 8 + TAIL)  # so that it does for the last block of a range, too
        return self._held


@dataclass
class Lines:
    """The lines of one range of an open file.

    ``limit`` is the longest line in bytes. ``open_end``: the file may still grow, so that a line without a newline is
    not yet a line. Blocks are read into ``room``.
    """

    file: int
    start: int
    stop: int | None
    limit: int
    open_end: bool = False
    room: Room = field(default_factory=Room)
    _counted: tuple[int, int] = field(default=(0, 0), init=False)

    def first(self, offset: int) -> int:
        """Where the first line starts that begins at or behind ``offset``; the file's size if there is none."""
        if offset == 0:
            return 3 if os.pread(self.file, 3, 0) == b"\xef\xbb\xbf" else 0
        return self._behind_newline(offset - 1)

    def block(self, offset: int, size: int) -> Block | TooLong | None:
        """The lines from ``offset`` on, about ``size`` bytes, one at least; None where the range (or file) ends."""
        if self.stop is not None and offset >= self.stop:
            return None
        if self.stop is not None and self.stop - offset <= size + size // 8:
            size = self.stop - offset + TAIL  # with the line that goes on behind the range, not in a block of its own
        held = self.room.of(size)
        there = os.preadv(self.file, [memoryview(held)[:size]], offset)
        if not there:
            return None
        cut = self._cut(held, there, offset, 0)
        return self._long(bytes(memoryview(held)[:there]), offset) if cut is None else self._whole(held, cut, offset)

    def _long(self, data: bytes, offset: int) -> Block | TooLong | None:
        """The lines from ``offset`` on, of which the first one goes on behind ``data``."""
        cut = None
        while cut is None:
            more = os.pread(self.file, min(STEP, self.limit), offset + len(data))
            if not more:
                return self._last(data, offset)
            fresh = len(data)
            data += more
            cut = self._cut(data, len(data), offset, fresh)
            if cut is None and len(data) > self.limit:
                return self._too_long(data, offset)
        return self._whole(data, cut, offset)

    def _whole(self, data: bytes | bytearray, cut: int, offset: int) -> Block | TooLong | None:
        if cut > self.limit + 1 and data.find(b"\n", 0, self.limit + 1) < 0:
            return self._too_long(bytes(data[:cut]), offset)
        return Block(memoryview(data)[:cut], offset, offset + cut)

    def _cut(self, data: bytes | bytearray, size: int, offset: int, fresh: int) -> int | None:
        """How much of the first ``size`` bytes are whole lines that start in the range; None: the first line goes on.

        Before ``fresh`` there is no end of a line.
        """
        if fresh:
            return data.find(b"\n", fresh, size) + 1 or None
        last = self.stop - 1 - offset if self.stop is not None else size
        newline = data.find(b"\n", last, size) if last < size else -1
        if newline < 0:
            newline = data.rfind(b"\n", 0, min(size, last)) if last > 0 else -1
        return None if newline < 0 else newline + 1

    def _last(self, data: bytes, offset: int) -> Block | TooLong | None:
        if self.open_end:
            return None
        if len(data) > self.limit:
            return TooLong(data[:SHOWN], offset, offset + len(data))
        return Block(memoryview(data), offset, offset + len(data))

    def _too_long(self, data: bytes, offset: int) -> Block | TooLong | None:
        newline = data.find(b"\n")
        end = offset + newline + 1 if newline >= 0 else self._behind_newline(offset + len(data))
        size = os.fstat(self.file).st_size
        if self.open_end and end == size and os.pread(self.file, 1, end - 1) != b"\n":
            return None
        return TooLong(data[:SHOWN], offset, end)

    def _behind_newline(self, offset: int) -> int:
        while data := os.pread(self.file, STEP, offset):
            newline = data.find(b"\n")
            if newline >= 0:
                return offset + newline + 1
            offset += len(data)
        return offset

    def number(self, offset: int) -> int:
        """The line number (from one) of the line that starts at ``offset``; reads what lies before it, once."""
        known, lines = self._counted if self._counted[0] <= offset else (0, 0)
        for data in self._between(known, offset):
            lines += data.count(b"\n")
        self._counted = (offset, lines)
        return lines + 1

    def _between(self, start: int, end: int) -> Iterator[bytes]:
        while start < end and (data := os.pread(self.file, min(STEP, end - start), start)):
            yield data
            start += len(data)


@dataclass
class QuotedLines(Lines):
    """Lines whose quoted fields may hold newlines: a block ends where the number of quotes before it is even.

    Where that leads nowhere (a lone quote inside a field), any newline ends a line.
    """

    quote: bytes = b'"'

    def _cut(self, data: bytes | bytearray, size: int, offset: int, fresh: int) -> int | None:
        newline = data.rfind(b"\n", 0, size)
        odd = data.count(self.quote, 0, max(newline, 0)) % 2
        while newline >= 0 and odd:
            before = data.rfind(b"\n", 0, newline)
            odd = (odd + data.count(self.quote, max(before, 0), newline)) % 2
            newline = before
        return newline + 1 or None

    def _too_long(self, data: bytes, offset: int) -> Block | TooLong | None:
        newline = data.find(b"\n", 0, self.limit + 1)
        if newline >= 0:
            return Block(memoryview(data)[: newline + 1], offset, offset + newline + 1)
        return super()._too_long(data, offset)
