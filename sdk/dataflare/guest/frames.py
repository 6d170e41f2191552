"""Frames: ``u32 header length (LE) | header JSON (UTF-8, at most 1 MiB) | payload``.

The header names the sizes of the payload's parts (``parts``), so a frame can be read from a stream and cut apart.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from dataflare.errors import Failed

MAX_HEADER = 1 << 20
MAX_PAYLOAD = 1 << 30
Json = Any
LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Frame:
    """A request or an answer: a JSON object and parts of bytes that the object refers to by index."""

    header: dict[str, Json]
    parts: Sequence[bytes | memoryview] = field(default_factory=tuple)

    def head(self, **words: Json) -> bytes:
        """What stands before the payload, with more words. Raises Failed ``guest.frame`` if the frame is too large."""
        sizes = [len(part) for part in self.parts]
        header = {**self.header, "parts": sizes, **words}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        if len(text) > MAX_HEADER:
            raise broken(f"the header has {len(text):,} bytes, more than {MAX_HEADER:,}")
        if (size := sum(sizes)) > MAX_PAYLOAD:
            raise broken(f"the payload has {size:,} bytes, more than {MAX_PAYLOAD:,}")
        return LENGTH.pack(len(text)) + text

    def pieces(self) -> list[bytes | memoryview]:
        """The frame as bytes, in pieces that need not be joined. Raises Failed ``guest.frame`` if it is too large."""
        return [self.head(), *self.parts]

    def pack(self) -> bytes:
        """The frame as bytes."""
        return b"".join(self.pieces())

    @classmethod
    def unpack(cls, given: bytes | memoryview) -> Frame:
        """The frame in these bytes, which it fills whole. Raises Failed ``guest.frame``."""
        view = memoryview(given)
        if len(view) < LENGTH.size:
            raise broken("it is shorter than the length of its header")
        (length,) = LENGTH.unpack(view[: LENGTH.size])
        end = LENGTH.size + length
        if length > MAX_HEADER or end > len(view):
            raise broken(f"it names a header of {length:,} bytes and has {len(view) - LENGTH.size:,}")
        header, sizes = header_of(view[LENGTH.size : end])
        if sum(sizes) != len(view) - end:
            raise broken(f"its parts are {sum(sizes):,} bytes, behind the header are {len(view) - end:,}")
        return cls(header, cut(view[end:], sizes))

    @classmethod
    def read(cls, stream: BinaryIO) -> Frame | None:
        """The next frame of a stream; None at its end. Raises Failed ``guest.frame`` for one that is cut or wrong."""
        first = _exactly(stream, LENGTH.size, at_start=True)
        if first is None:
            return None
        (length,) = LENGTH.unpack(first)
        if length > MAX_HEADER:
            raise broken(f"it names a header of {length:,} bytes, more than {MAX_HEADER:,}")
        header, sizes = header_of(_exactly(stream, length) or b"")
        payload = _exactly(stream, sum(sizes)) or b""
        return cls(header, cut(memoryview(payload), sizes))

    def write(self, stream: BinaryIO) -> None:
        """Send it."""
        for piece in self.pieces():
            stream.write(piece)
        stream.flush()


def broken(message: str) -> Failed:
    """The error of bytes that are not a frame."""
    return Failed.of("guest.frame", "what was sent is not a frame", cause=message)


def header_of(text: bytes | memoryview) -> tuple[dict[str, Json], list[int]]:
    """The header in these bytes, and the sizes of the parts. Raises Failed ``guest.frame``."""
    try:
        header = json.loads(str(text, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise broken(f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise broken("its header is not a JSON object")
    sizes = header.pop("parts", [])
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise broken("`parts` is not a list of sizes")
    if sum(sizes) > MAX_PAYLOAD:
        raise broken(f"the payload has {sum(sizes):,} bytes, more than {MAX_PAYLOAD:,}")
    return header, sizes


def cut(payload: memoryview, sizes: Sequence[int]) -> tuple[memoryview, ...]:
    """The parts of a payload."""
    parts, at = [], 0
    for size in sizes:
        parts.append(payload[at : at + size])
        at += size
    return tuple(parts)


def _exactly(stream: BinaryIO, size: int, *, at_start: bool = False) -> bytes | None:
    got = bytearray()
    while len(got) < size:
        more = stream.read(size - len(got))
        if not more:
            if at_start and not got:
                return None
            raise broken(f"it ends after {len(got):,} of {size:,} bytes")
        got += more
    return bytes(got)
