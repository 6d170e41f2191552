"""Frames over two file descriptors, as a guest in a process and its host exchange them.

With shared memory, a frame's header has two words more: ``shared``, ``[[part, place], …]`` for the parts that lie there
instead of behind the header, and ``returned``, the places of the other side that may be written again.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from itertools import islice

from dataflare.errors import Failed
from dataflare.guest.frames import LENGTH, MAX_HEADER, MAX_PAYLOAD, Frame, Json, broken, cut, header_of
from dataflare.guest.shared import Inbox, Outbox, room_for

Wait = Callable[[int, int], None]
"""Waits until a descriptor can be read (``POLLIN``) or written (``POLLOUT``); may raise."""
_FIRST = 64 << 10
_PIECES = 512


def _wait(descriptor: int, event: int) -> None:
    polled = select.poll()
    polled.register(descriptor, event)
    polled.poll()


class Channel:
    """Sends and receives frames. Not thread-safe. Descriptors may be non-blocking: then ``wait`` is called."""

    def __init__(
        self,
        reading: int,
        writing: int,
        inbox: Inbox | None = None,
        outbox: Outbox | None = None,
        wait: Wait = _wait,
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._inbox = inbox
        self._outbox = outbox
        self._wait = wait
        self._rest = b""
        self.most = MAX_PAYLOAD
        """Bytes that the parts of a frame may have."""

    def room(self, size: int) -> memoryview | None:
        """Shared memory to write a part of a frame into; None where it had better travel with the frame."""
        return None if self._outbox is None else self._outbox.room(size)

    def send(self, frame: Frame) -> None:
        """Send a frame. Raises Failed ``guest.frame`` if it is too large, BrokenPipeError, what ``wait`` raises."""
        places: list[list[int]] = []
        if self._outbox is not None:
            for index, part in enumerate(frame.parts):
                if (at := self._outbox.put(part)) is not None:
                    places.append([index, at])
        words: dict[str, Json] = {"shared": places} if places else {}
        if self._inbox is not None and (done := self._inbox.done()):
            words["returned"] = done
        elsewhere = {index for index, _ in places}
        parts = [part for index, part in enumerate(frame.parts) if index not in elsewhere]
        self._write([frame.head(**words), *parts])

    def receive(self) -> Frame | None:
        """The next frame; None at the end.

        Raises Failed ``guest.frame`` for what is none, ``guest.output`` for too large a one; what ``wait`` raises.
        """
        data = self._rest or self._some(_FIRST)
        if not data:
            return None
        data = self._at_least(data, LENGTH.size)
        (length,) = LENGTH.unpack_from(data)
        if length > MAX_HEADER:
            raise broken(f"it names a header of {length:,} bytes, more than {MAX_HEADER:,}")
        start = LENGTH.size + length
        data = self._at_least(data, start)
        header, sizes = header_of(memoryview(data)[LENGTH.size : start])
        if sum(sizes) > self.most:
            raise Failed.of("guest.output", "a guest answers with too much", cause=f"{sum(sizes):,} bytes")
        shared = self._places(header, len(sizes))
        inline = [size for index, size in enumerate(sizes) if index not in shared]
        parts = list(cut(self._payload(memoryview(data)[start:], sum(inline)), inline))
        for index in sorted(shared):
            assert self._inbox is not None
            parts.insert(index, self._inbox.take(shared[index], sizes[index]))
        return Frame(header, tuple(parts))

    def _places(self, header: dict[str, Json], parts: int) -> dict[int, Json]:
        """Which parts lie in shared memory, and where."""
        if self._inbox is None:
            return {}
        told, returned = header.pop("shared", []), header.pop("returned", [])
        if self._outbox is not None:
            self._outbox.returned(returned)
        pairs = isinstance(told, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in told)
        if not pairs or not all(type(index) is int and 0 <= index < parts for index, _ in told):
            raise broken("`shared` is not a list of parts and places")
        return dict(told)

    def _payload(self, have: memoryview, size: int) -> memoryview:
        if len(have) >= size:
            self._rest = bytes(have[size:])
            return have[:size]
        self._rest = b""
        payload = room_for(size)
        payload[: len(have)] = have
        view = payload[len(have) :]
        while view:
            try:
                got = os.readv(self._reading, [view])
            except BlockingIOError:
                self._wait(self._reading, select.POLLIN)
                continue
            if not got:
                raise broken(f"it ends {len(view):,} bytes before its end")
            view = view[got:]
        return payload

    def _at_least(self, data: bytes, size: int) -> bytes:
        while len(data) < size:
            more = self._some(max(size - len(data), _FIRST))
            if not more:
                raise broken(f"it ends after {len(data):,} bytes")
            data += more
        return data

    def _some(self, most: int) -> bytes:
        while True:
            try:
                return os.read(self._reading, most)
            except BlockingIOError:
                self._wait(self._reading, select.POLLIN)

    def _write(self, pieces: list[bytes | memoryview]) -> None:
        views = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        first = 0
        while first < len(views):
            try:
                written = os.writev(self._writing, list(islice(views, first, first + _PIECES)))
            except BlockingIOError:
                self._wait(self._writing, select.POLLOUT)
                continue
            while first < len(views) and written >= len(views[first]):
                written -= len(views[first])
                first += 1
            if written:
                views[first] = views[first][written:]
