"""A Unix socket in front of a PostgreSQL server that loses a connection in the middle of what it carries."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Carries bytes both ways; told to, it carries only so many more of one way and then loses that connection.

    ``up`` is from the client to the server, ``down`` is what the server answers. With ``half`` the server is not told:
    its side stays open, as when a network goes away.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self._server = folder, str(server / SOCKET)
        self.lost = 0
        self.carried = {"up": 0, "down": 0}
        self._left: dict[str, int] = {}
        self._half = False
        self._kept: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, way: str, after: int, *, half: bool = False) -> None:
        """Lose the connection that carries this byte."""
        with self._lock:
            self._left, self._half, self.lost = {way: after}, half, 0

    def close(self) -> None:
        """Take no more connections, and lose those there are."""
        self._listener.close()
        for one in self._kept:
            _end(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._server)
                except OSError:
                    client.close()
                    continue
                self._kept += [client, server]
                for way, source, target in (("up", client, server), ("down", server, client)):
                    threading.Thread(target=self._carry, args=(way, source, target), daemon=True).start()

    def _carry(self, way: str, source: socket.socket, target: socket.socket) -> None:
        client, server = (source, target) if way == "up" else (target, source)
        with suppress(OSError):
            while content := source.recv(65536):
                allowed = self._take(way, len(content))
                target.sendall(content[:allowed])
                if allowed < len(content):
                    _end(client)
                    if not self._half:
                        _end(server)
                    return
        if not self._half:
            _end(target)

    def _take(self, way: str, count: int) -> int:
        with self._lock:
            self.carried[way] += count
            if way not in self._left:
                return count
            allowed = min(count, self._left[way])
            self._left[way] -= allowed
            if allowed < count:
                del self._left[way]
                self.lost += 1
            return allowed


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
