"""The body of an answer: read and unpacked in pieces, never more than is allowed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping

from dataflare.errors import Failed

ACCEPTED = "gzip, deflate"
_STEP = 1 << 16


def read_content(pieces: Iterable[bytes], headers: Mapping[str, str], most: int) -> bytes:
    """The whole content, unpacked. Raises Failed ``http.too_large``, ``http.encoding``."""
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        message = f"the answer is packed as `{coding[:40]}`, which was not asked for"
        raise Failed.of("http.encoding", message, fix="the service must send gzip, deflate or plain content")
    packed = _bounded(pieces, most, "")
    plain = packed if coding in ("", "identity") else _bounded(_unpacked(packed, coding), most, "unpacked, ")
    return b"".join(plain)


def _bounded(pieces: Iterable[bytes], most: int, how: str) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise Failed.of(
                "http.too_large", f"{how}the answer is larger than {most} bytes", fix="ask for less at a time"
            )
        yield piece


def _unpacked(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """A little at a time, so that a bomb is noticed before it is large."""
    unpack, raw = _unpacker(coding), coding == "deflate"
    begun = False
    try:
        for piece in pieces:
            while piece:
                if unpack.eof:  # gzip: another member follows
                    unpack = _unpacker(coding)
                try:
                    plain = unpack.decompress(piece, _STEP)
                except zlib.error:
                    if begun or not raw:
                        raise
                    unpack, raw = zlib.decompressobj(-zlib.MAX_WBITS), False  # deflate without its frame
                    plain = unpack.decompress(piece, _STEP)
                begun = True
                yield plain
                piece = unpack.unconsumed_tail or unpack.unused_data
                while not piece and not unpack.eof and len(plain) == _STEP:
                    yield (plain := unpack.decompress(b"", _STEP))
    except zlib.error as error:
        raise Failed.of("http.encoding", f"the answer cannot be unpacked: {error}") from None
    if begun and not unpack.eof:
        raise Failed.of("http.broken", "the answer ends in the middle of its packed content", kind="retry")


def _unpacker(coding: str) -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS if coding == "deflate" else zlib.MAX_WBITS | 16)
