"""Serves an index on this machine: static files, pages as HTML or JSON as PEP 691 has it; uploads with a token."""

from __future__ import annotations

import http.server
import json
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Problem
from dataflare_index.receiving import LARGEST, Receiver
from dataflare_index.submitting import PATH

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"


class Handler(http.server.SimpleHTTPRequestHandler):
    """One request: `/simple/` pages as JSON where they are asked for, all else as files."""

    protocol_version = "HTTP/1.1"
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".whl": "application/zip"}

    timeout = 60  # seconds that a client may be silent

    def __init__(self, *given: Any, receiver: Receiver | None = None, quiet: bool = True, **named: Any) -> None:
        self._quiet = quiet
        self._receiver = receiver
        super().__init__(*given, **named)

    def send_head(self) -> Any:
        """The page in the form that was asked for."""
        path = self.path.partition("?")[0]
        if path.startswith("/simple/") and path.endswith("/"):
            accepted = self.headers.get("Accept", "")
            self.path = path + ("index.json" if JSON in accepted and "q=0," not in accepted else "index.html")
        return super().send_head()

    def do_POST(self) -> None:
        """An upload, where its token is known."""
        self.close_connection = True  # what was not read must not be taken for the next request
        told = self.headers.get("Content-Length", "")
        length = int(told) if told.isascii() and told.isdigit() else LARGEST + 1
        if self.path != PATH or self._receiver is None or not self._receiver.tokens:
            self._answer(HTTPStatus.NOT_FOUND, _problem("publish.closed", "this index takes no uploads here"))
        elif not self._receiver.allows(self.headers.get("Authorization", "")):
            self._answer(HTTPStatus.UNAUTHORIZED, _problem("publish.token", "this token may not publish here"))
        elif length > LARGEST:
            self._answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _problem("publish.submission", "what is sent is too large")
            )
        else:
            self._answer(*self._receiver.take(self.rfile, length))
            return
        while 0 < length <= LARGEST and (part := self.rfile.read(min(length, 1 << 16))):
            length -= len(part)  # closed with something unread, the connection would lose the answer too

    def _answer(self, status: int, told: Any) -> None:
        raw = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def guess_type(self, path: Any) -> str:
        """The content type of a file."""
        name = Path(str(path))
        if "simple" in name.parts and name.name in ("index.json", "index.html"):
            return JSON if name.suffix == ".json" else HTML
        return super().guess_type(path)

    def list_directory(self, path: Any) -> None:
        """No listings: what is there, the index says."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *given: Any) -> None:
        """A line a request, unless it is to be quiet."""
        if not self._quiet:
            super().log_message(format, *given)


def server_of(
    index: Path, port: int, *, quiet: bool = False, tokens: Path | None = None, host: HostApi | None = None
) -> http.server.ThreadingHTTPServer:
    """A server of an index on loopback; port 0: any that is free. ``tokens``: the file of those that may publish.

    ``host``: whose loaders look at the code that is published.
    """
    handler = partial(Handler, directory=str(index), quiet=quiet, receiver=Receiver.of(index, tokens, host))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def _problem(code: str, message: str) -> Any:
    fix = "ask who keeps the index for a token, and give it as --token"
    return {"problems": [Problem(code, message, fix=fix).as_json()], "exit_code": ConfigError.exit_code}
