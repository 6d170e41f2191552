"""The layer that makes content smaller."""

from __future__ import annotations

from dataflare import field
from dataflare.errors import StateError
from dataflare.store import Layer

PLAIN, PACKED = b"\0", b"\1"
SMALL = 64
"""Shorter content does not become smaller."""


class Zstd(Layer, name="zstd"):
    """Compresses what a store keeps with Zstandard; put it before a layer that encrypts."""

    level: int = field(default=3, ge=-7, le=19, help="Higher is smaller and slower.")

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Smaller, where that is possible."""
        import zstandard

        if len(data) >= SMALL:
            packed: bytes = zstandard.ZstdCompressor(level=self.level).compress(data)
            if len(packed) < len(data):
                return PACKED + packed
        return PLAIN + data

    def unseal(self, data: bytes, place: bytes) -> bytes:
        """As it was."""
        import zstandard

        if data[:1] == PLAIN:
            return data[1:]
        try:
            content: bytes = zstandard.ZstdDecompressor().decompress(data[1:])
        except zstandard.ZstdError as error:
            raise StateError.of("state.corrupt", "the content cannot be decompressed", cause=str(error)) from error
        return content
