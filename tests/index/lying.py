"""A server of an index that lies, hangs, and never ends, where a path has a word in it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from pathlib import Path

from dataflare_index.serving import Handler

Lie = Callable[[http.server.BaseHTTPRequestHandler, bytes], None]


class Liar:
    """Serves an index, and answers otherwise where a path has a word in it."""

    def __init__(self, index: Path) -> None:
        self.word, self.lie, self.asked = "\0", short, 0
        self.stop = threading.Event()
        liar = self

        class Lying(Handler):
            def do_GET(self) -> None:
                liar.asked += 1
                if liar.word in self.path:
                    liar.lie(self, (index / self.path[1:]).read_bytes())
                    self.close_connection = True
                else:
                    super().do_GET()

        def made(*given: object) -> Lying:
            return Lying(*given, directory=str(index))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), made)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()


def head(to: http.server.BaseHTTPRequestHandler, length: int | None) -> None:
    to.send_response(200)
    if length is not None:
        to.send_header("Content-Length", str(length))
    to.end_headers()


def short(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    head(to, len(content))
    to.wfile.write(content[:-5])


def swapped(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    head(to, len(content))
    to.wfile.write(content[:-5] + b"xxxxx")


def endless(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    head(to, None)
    try:
        for _ in range(4096):
            to.wfile.write(content * (1 + (1 << 16) // len(content)))
    except OSError:
        return


def broken(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    head(to, len(content))
    to.wfile.write(b"}" * len(content))
