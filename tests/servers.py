"""HTTP servers on loopback that say what a test lets them say."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Asked:
    """A request as a server saw it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    head: bytes
    connection: int


Say = Callable[[socket.socket, Asked], None]
"""Says something; afterwards the connection is kept for the next request, unless it is closed."""


class Server:
    """A server that answers each request as ``say`` does, on a port of its own."""

    def __init__(self, say: Say, certificate: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.refused = 0
        self.before: Callable[[socket.socket], object] = lambda connection: None
        """What is done with a connection before anything is read from it."""
        self._say = say
        self._certificate = certificate
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        self._connections = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        for each in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self._connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if self._certificate is not None:
                connection = self._certificate.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self.before(connection)
            while (asked := _request(connection, number)) is not None:
                self.asked.append(asked)
                self._say(connection, asked)
        except (OSError, ValueError):
            self.refused += 1
        finally:
            connection.close()


def _request(connection: socket.socket, number: int) -> Asked | None:
    given = b""
    while b"\r\n\r\n" not in given:
        more = connection.recv(65536)
        if not more:
            return None
        given += more
    head, _, body = given.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, target, _ = first.split(" ")
    return Asked(method, target, headers, body, head, number)


def answer(status: int = 200, body: bytes = b"", **headers: object) -> bytes:
    """An answer as it is sent; ``_`` in names of headers is ``-``."""
    told = {"Content-Length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value is not None)
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + body


def saying(*answers: bytes) -> Say:
    """Says these, one after the other; the last for ever."""
    left = list(answers)

    def say(connection: socket.socket, _: Asked) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return say
