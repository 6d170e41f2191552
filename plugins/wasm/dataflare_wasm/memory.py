"""A guest's linear memory, seen from the host: nothing is read or written outside of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import wasmtime

Bytes = bytes | bytearray | memoryview


class OutOfMemory(Exception):
    """A guest named bytes that its memory does not have."""


class LinearMemory:
    """Addresses are those of the guest: 32 bits, as it gives them (signed or not)."""

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory) -> None:
        self._store = store
        self._memory = memory
        self._view = memoryview(b"")
        self._at: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Bytes it has now. It never shrinks."""
        return self._memory.data_len(self._store)

    def read(self, at: int, length: int) -> bytes:
        """A copy of what is there. Raises OutOfMemory."""
        at, length = at & 0xFFFFFFFF, length & 0xFFFFFFFF
        return bytes(self._bounded(at, length)[at : at + length])

    def write(self, at: int, pieces: Iterable[Bytes]) -> None:
        """Put the pieces there, one after the other. Raises OutOfMemory before anything is written."""
        at &= 0xFFFFFFFF
        given = [piece if isinstance(piece, bytes | bytearray) else piece.cast("B") for piece in pieces]
        view = self._bounded(at, sum(map(len, given)))
        for piece in given:
            view[at : at + len(piece)] = piece
            at += len(piece)

    def _bounded(self, at: int, length: int) -> memoryview:
        """All of the memory, if it has these bytes. It may have moved since the guest last ran."""
        size = self.size
        if at + length > size:
            raise OutOfMemory(f"{length:,} bytes at {at:,} are outside of its memory of {size:,} bytes")
        base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        if self._at != (base, size):
            self._view = memoryview((ctypes.c_ubyte * size).from_address(base)).cast("B")
            self._at = (base, size)
        return self._view

    def forget(self) -> None:
        """The memory is about to go."""
        self._view, self._at = memoryview(b""), None
