"""Large parts of frames through shared memory: each side writes into a file of its own that lives in memory only.

The file has no name, so nothing is left of it once both processes have gone, however they went.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import weakref
from collections import deque
from typing import Any

from dataflare.guest.frames import MAX_PAYLOAD, broken

SHARED_FROM = 1 << 20
"""Bytes from which on a part is worth the way through shared memory."""
_UNIT = max(mmap.ALLOCATIONGRANULARITY, 64 << 10)
_AT_ONCE = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
_WASTE = 4
"""A place is not used for a part that is smaller by more than this."""


def memory_file(name: str) -> int:
    """A descriptor of an empty file in memory. It never shrinks, where the system can see to that."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    made = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(made, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return made


class Outbox:
    """The parts that this side gives away: places in its file, used again once the other side returns them."""

    def __init__(self, file: int, least: int = SHARED_FROM) -> None:
        self.file = file
        self.least = max(least, 1)
        self._taken: dict[int, int] = {}
        self._free: dict[int, int] = {}
        self._end = 0
        self._mapped: dict[int, mmap.mmap] = {}
        self._rooms: dict[int, int] = {}
        """Identity of a room that was given and not sent yet → its place."""

    def room(self, size: int) -> memoryview | None:
        """Memory for a part of this size, to be filled and sent as it is: then nothing is copied."""
        # Writing where the other side can cut the file off would end this process.
        if not hasattr(os, "memfd_create") or (at := self._place(size)) is None:
            return None
        mapped = self._mapped.get(at)
        if mapped is None:
            if os.fstat(self.file).st_size < self._end:
                os.ftruncate(self.file, self._end)
            mapped = self._mapped[at] = mmap.mmap(self.file, self._taken[at], offset=at)
        found = memoryview(mapped)[:size]
        self._rooms[id(found)] = at
        weakref.finalize(found, self._dropped, id(found), at)
        return found

    def put(self, part: bytes | memoryview) -> int | None:
        """Where the part lies now; None if it has to travel with the frame: it is small, or the memory is full."""
        if (filled := self._rooms.pop(id(part), None)) is not None:
            return filled
        if (at := self._place(len(part))) is None:
            return None
        view, to = memoryview(part).cast("B"), at
        while view:
            written = os.pwrite(self.file, view, to)
            view, to = view[written:], to + written
        return at

    def returned(self, places: Any) -> None:
        """The other side does not look at these places any more. Raises Failed ``guest.frame``."""
        for at in places if isinstance(places, list) else [places]:
            if type(at) is not int or at not in self._taken:
                raise broken(f"it returns {at!r}, which is no place in shared memory that was given")
            self._free[at] = self._taken.pop(at)

    def _dropped(self, room: int, at: int) -> None:
        """Nobody has a room any more: if it was not sent, its place is free."""
        if self._rooms.pop(room, None) is not None:
            self._free[at] = self._taken.pop(at)

    def _place(self, size: int) -> int | None:
        """A place that is large enough, from now on taken."""
        if size < self.least:
            return None
        room = -(-size // _UNIT) * _UNIT
        at = min((at for at, has in self._free.items() if room <= has <= _WASTE * room), default=None)
        if at is not None:
            self._taken[at] = self._free.pop(at)
            return at
        if self._end + room > MAX_PAYLOAD:
            return None
        at, self._end = self._end, self._end + room
        self._taken[at] = room
        return at


class Inbox:
    """The parts that the other side gave: read where they lie, or, if that side is not trusted, as a copy."""

    def __init__(self, file: int, *, copies: bool) -> None:
        self.file = file
        self._copies = copies
        self._done: deque[int] = deque()

    def take(self, at: Any, size: int) -> memoryview:
        """The part at a place. Raises Failed ``guest.frame`` where there is none."""
        if type(at) is not int or at < 0 or at % _UNIT or at + size > os.fstat(self.file).st_size:
            raise broken(f"it names {size:,} bytes at {at!r} in shared memory, where they are not")
        if self._copies:
            part = self._copy(at, size)
            self._done.append(at)
            return part
        mapped = mmap.mmap(self.file, size, _AT_ONCE, mmap.PROT_READ, offset=at)
        # Batches refer to the mapping as long as they live; only then may the place be written again.
        weakref.finalize(mapped, self._done.append, at)
        return memoryview(mapped)

    def done(self) -> list[int]:
        """The places that were read and are not needed any more; each is told once."""
        return [self._done.popleft() for _ in range(len(self._done))]

    def _copy(self, at: int, size: int) -> memoryview:
        content = room_for(size)
        view = content
        while view:
            got = os.preadv(self.file, [view], at + size - len(view))
            if not got:
                raise broken("its shared memory was cut off")
            view = view[got:]
        return content


def room_for(size: int) -> memoryview:
    """Memory to read into; large pieces come from Arrow's pool, which gives them warm."""
    if size < SHARED_FROM:
        return memoryview(bytearray(size))
    import pyarrow as pa

    return memoryview(pa.allocate_buffer(size)).cast("B")
