"""What a trusted index has of other distributions, as `uv` and `pip` read it: everything is checked on the way.

Its own pages for them prove nothing: whoever keeps a copy of the index could change them. So a server on this machine
makes them from what the index's keepers signed, for as long as they are needed.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from dataflare.errors import ConfigError, DataflareError
from dataflare_index.others import FOLDER, Other
from dataflare_index.serving import JSON
from dataflare_index.simple import project_json
from dataflare_index.trusted import Trusted

_PAGE = re.compile(r"/simple/([a-z0-9-]+)/\Z")
_FILE = re.compile(rf"/({FOLDER}/[a-z0-9-]+/[A-Za-z0-9][A-Za-z0-9._+!-]*)\Z")


class Vouched:
    """One index. ``failure``: what was wrong with it, whoever asked was told nothing then."""

    def __init__(self, index: Trusted) -> None:
        self.failure: DataflareError | None = None
        self._index = index
        self._turn = threading.Lock()

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """The type and the content of a path; None where the index has it not, or what it has is not to be believed."""
        page, file = _PAGE.match(path), _FILE.match(path)
        try:
            with self._turn:
                if page is not None:
                    listed = json.loads(self._content(f"{FOLDER}/{page[1]}.json"))
                    return JSON, project_json(Other(page[1], listed["releases"]))
                return ("application/octet-stream", self._content(file[1])) if file is not None else None
        except DataflareError as error:
            if error.code != "index.unknown":
                self.failure = self.failure or error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"what the index `{self._index.name}` says of others cannot be understood"
            self.failure = self.failure or ConfigError.of("index.catalogue", message, cause=repr(error))
        return None

    def _content(self, path: str) -> bytes:
        return self._index.client().file(path, self._index.kept / path).read_bytes()


@contextmanager
def served(index: Trusted) -> Iterator[str]:
    """The address under which an index is served meanwhile; ``simple/`` below it is for `uv` and `pip`.

    Raises NotTrusted, ConfigError at the end, where something that was asked for is not to be believed.
    """
    vouched = Vouched(index)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, vouched)) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
    if vouched.failure is not None:
        raise vouched.failure


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def __init__(self, vouched: Vouched, *given: Any) -> None:
        self._vouched = vouched
        super().__init__(*given)

    def do_GET(self) -> None:
        found = self._vouched.answer(unquote(self.path.partition("?")[0]))
        kind, content = found or ("text/plain", b"")
        self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        """Nothing: whoever asks tells what matters."""
