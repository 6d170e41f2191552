"""Frames over a socket: ``u32 header length (LE) | JSON header | payload``.

The payload is one JSON value whose size the header names (``parts``).
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

from dataflare.errors import Failed

MAX_HEADER = 1 << 20
MAX_PAYLOAD = 16 << 20
Json = Any


def send(sock: socket.socket, header: Mapping[str, Any], payload: Json = None) -> None:
    """Send a frame: a header, and one JSON value as its payload (None: no payload)."""
    body = b"" if payload is None else json.dumps(payload, ensure_ascii=False, default=str).encode()
    head = json.dumps({**header, "parts": [len(body)] if body else []}).encode()
    sock.sendall(struct.pack("<I", len(head)) + head + body)


def receive(sock: socket.socket) -> tuple[dict[str, Any], Json]:
    """The next frame: header and payload. Raises EOFError at the end, Failed ``run.bad_frame`` for rubbish."""
    (length,) = struct.unpack("<I", _exactly(sock, 4))
    if length > MAX_HEADER:
        raise Failed.of("run.bad_frame", f"a frame's header of {length} bytes is larger than {MAX_HEADER}")
    try:
        header = json.loads(_exactly(sock, length))
        size = sum(int(part) for part in header.get("parts", ()))
        if not 0 <= size <= MAX_PAYLOAD:
            raise ValueError(f"{size} bytes of payload")
        return header, json.loads(_exactly(sock, size)) if size else None
    except (ValueError, AttributeError, TypeError) as error:
        raise Failed.of("run.bad_frame", f"not a control frame: {error}") from error


def _exactly(sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        part = sock.recv(min(size - len(got), 1 << 16))
        if not part:
            raise EOFError("the other side hung up")
        got += part
    return bytes(got)
