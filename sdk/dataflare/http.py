"""``ctx.http``: requests that the host's broker sends, and the answers to them.

An author sees the same in process, in a worker and in WASM: only ``Http.send`` differs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflare.errors import ConfigError, Failed, Retry

LATER = frozenset({408, 425, 429})
"""Statuses that ask to come again, beside those of 500 and above."""
SHOWN = 300


@dataclass(frozen=True)
class Response:
    """An answer. Names of ``headers`` are in small letters; ``content`` is unpacked where it came compressed."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def ok(self) -> bool:
        """A status of 200 to 299."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The content as text: UTF-8, what is not is replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The content as JSON. Raises Failed ``http.json``."""
        import json

        try:
            return json.loads(self.content)
        except ValueError as error:
            told = " ".join(self.text[:SHOWN].split())
            raise Failed.of("http.json", f"the answer ({self.status}) is no JSON: {error}", cause=told) from None

    @property
    def retry_after(self) -> float | None:
        """The seconds that ``Retry-After`` asks to wait, a number or a date; None where it does not say."""
        from email.utils import parsedate_to_datetime

        given = self.headers.get("retry-after", "").strip()
        if given.isdigit():
            return float(given)
        try:
            return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
        except ValueError:
            return None

    def checked(self) -> Response:
        """Itself, if it is ``ok``. Raises Retry for 408, 425, 429, 500 and above, else Failed ``http.answered``."""
        if self.ok:
            return self
        told = " ".join(self.text[:SHOWN].split())
        if self.status in LATER or self.status >= 500:
            raise Retry(self.retry_after, f"the service answered {self.status}: {told}")
        cause = f"Location: {self.headers.get('location', '')}" if 300 <= self.status < 400 else told or None
        raise Failed.of("http.answered", f"the service answered {self.status}", cause=cause)


class Http:
    """Sends requests, each held against what is granted. Redirections are not followed: a 3xx is an answer."""

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | str | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send a request and give the answer, whatever its status.

        ``params`` are added to the URL's query, ``json`` or ``content`` is the body, ``timeout`` is in seconds for all
        of it (at most what the broker allows). Raises PermissionDenied where host, port, method or path are not
        granted, ConfigError ``http.…`` for what can never be sent, Failed of the kind ``retry`` where nobody answers
        (``http.unreachable``, ``http.timeout``), Retry where the service had asked to wait.
        """
        if params:
            from urllib.parse import urlencode

            query = urlencode({name: value for name, value in params.items() if value is not None}, doseq=True)
            url = f"{url}{'&' if '?' in url else '?'}{query}"
        sent = dict(headers or {})
        body = content.encode() if isinstance(content, str) else content or b""
        if json is not None:
            if content is not None:
                raise ConfigError.of("http.two_bodies", "a request has `json` or `content`, not both")
            import json as form

            body = form.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            if not any(name.lower() == "content-type" for name in sent):
                sent["Content-Type"] = "application/json"
        return self.send(method.upper(), url, sent, bytes(body), timeout)

    def get(self, url: str, **options: Any) -> Response:
        """``request("GET", …)``."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> Response:
        """``request("POST", …)``."""
        return self.request("POST", url, **options)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None) -> Response:
        """Send what ``request`` made of its words."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of connections; a later request makes new ones."""
