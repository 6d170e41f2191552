"""The line between a runner and the process that started it: frames with a JSON value, and bytes behind it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from dataflare.errors import ConfigError, DataflareError, Failed, Problem, StateError
from dataflare.guest.frames import Frame

PROTOCOL = 1
Json = Any


class Wire:
    """One end of the line. Any thread may send; one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._stream = sock.makefile("rb")
        self._turn = threading.Lock()

    def send(self, header: dict[str, Json], value: Json = None, parts: Sequence[bytes] = ()) -> None:
        """Send a frame. Raises OSError where nobody is there."""
        text = json.dumps(value, ensure_ascii=False).encode()
        with self._turn:
            for piece in Frame(header, (text, *parts)).pieces():
                self._sock.sendall(piece)

    def receive(self) -> tuple[dict[str, Json], Json, list[bytes]]:
        """The next frame: header, value, bytes. Raises EOFError at the end, OSError, Failed ``guest.frame``."""
        frame = Frame.read(self._stream)
        if frame is None:
            raise EOFError("the other process has gone")
        return frame.header, json.loads(bytes(frame.parts[0])), [bytes(part) for part in frame.parts[1:]]

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def problems_of(error: BaseException) -> list[Json]:
    """An error as it goes over the line."""
    from dataflare.errors import problem_of

    if isinstance(error, DataflareError):
        return [problem.as_json() for problem in error.problems]
    return [problem_of(error).as_json()]


def error_of(told: list[Json]) -> DataflareError:
    """The error that the other side told."""
    problems = [Problem.from_json(item) for item in told]
    if not problems:
        return Failed.of("internal.unknown", "the other process failed without a word")
    if problems[0].kind == "config":
        return ConfigError(*problems)
    return StateError(*problems) if problems[0].code.startswith(("reload.", "state.", "run.")) else Failed(*problems)
