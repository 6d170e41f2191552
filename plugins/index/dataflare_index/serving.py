"""Serves an index on this machine: static files, their pages as HTML or JSON as PEP 691 has it."""

from __future__ import annotations

import http.server
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"


class Handler(http.server.SimpleHTTPRequestHandler):
    """One request: `/simple/` pages as JSON where they are asked for, all else as files."""

    protocol_version = "HTTP/1.1"
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".whl": "application/zip"}

    def __init__(self, *given: Any, quiet: bool = True, **named: Any) -> None:
        self._quiet = quiet
        super().__init__(*given, **named)

    def send_head(self) -> Any:
        """The page in the form that was asked for."""
        path = self.path.partition("?")[0]
        if path.startswith("/simple/") and path.endswith("/"):
            accepted = self.headers.get("Accept", "")
            self.path = path + ("index.json" if JSON in accepted and "q=0," not in accepted else "index.html")
        return super().send_head()

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


def server_of(index: Path, port: int, *, quiet: bool = False) -> http.server.ThreadingHTTPServer:
    """A server of an index on loopback; port 0: any that is free."""
    handler = partial(Handler, directory=str(index), quiet=quiet)
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
