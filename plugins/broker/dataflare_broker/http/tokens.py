"""OAuth 2 tokens that the broker holds: asked for once, renewed before they end and once after a refusal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from dataflare.errors import Failed
from dataflare.http import Response
from dataflare_broker.http.injecting import OAuth
from dataflare_broker.http.url import Url

Post = Callable[[Url, Mapping[str, str], bytes], Response]
USUAL = 300.0
"""Seconds that a token is good for, where its service does not say."""
EARLY = 30.0
"""Renewed so many seconds before its end, or at nine tenths of its life."""


@dataclass
class _Held:
    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str = ""
    until: float = 0.0
    renewal: str | None = None
    """A newer refresh token that the service gave."""


class Tokens:
    """The tokens of one process; several lanes that need one wait for one request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[OAuth, _Held] = {}

    def get(self, oauth: OAuth, secret: Callable[[str], str], post: Post, learn: Callable[[str], None]) -> str:
        """A token that is good now. ``learn`` is told every value that is to stay hidden."""
        held = self._of(oauth)
        with held.lock:
            if not held.token or time.monotonic() >= held.until:
                self._renew(oauth, held, secret, post, learn)
            learn(held.token)
            return held.token

    def refused(self, oauth: OAuth, value: str) -> None:
        """A service did not take this token; if it is still the one held, the next ``get`` asks for another."""
        held = self._of(oauth)
        with held.lock:
            if value == f"Bearer {held.token}":
                held.token = ""

    def _of(self, oauth: OAuth) -> _Held:
        with self._lock:
            return self._held.setdefault(oauth, _Held())

    def _renew(
        self, oauth: OAuth, held: _Held, secret: Callable[[str], str], post: Post, learn: Callable[[str], None]
    ) -> None:
        words = {"grant_type": oauth.flow, "client_id": oauth.client}
        if oauth.scopes:
            words["scope"] = " ".join(oauth.scopes)
        if oauth.flow == "refresh_token":
            words["refresh_token"] = held.renewal or secret(oauth.secret)
            if oauth.client_secret:
                words["client_secret"] = secret(oauth.client_secret)
        else:
            words["client_secret"] = secret(oauth.secret)
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        answer = post(oauth.url, headers, urlencode(words).encode())
        told = _told(answer)
        token = told.get("access_token")
        if not answer.ok or not isinstance(token, str) or not token.isprintable() or not token.isascii():
            raise _failed(oauth, answer, told)
        learn(token)
        renewal = told.get("refresh_token")
        if isinstance(renewal, str):
            learn(renewal)
            held.renewal = renewal
        life = _seconds(told.get("expires_in"))
        held.token, held.until = token, time.monotonic() + max(life * 0.1, min(life - EARLY, life * 0.9))


def _told(answer: Response) -> dict[str, object]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(given: object) -> float:
    try:
        return max(1.0, float(given))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return USUAL


def _failed(oauth: OAuth, answer: Response, told: Mapping[str, object]) -> Failed:
    later = answer.status == 429 or answer.status >= 500
    return Failed.of(
        "http.oauth",
        f"{oauth.url.place} gave no token: {answer.status}",
        kind="retry" if later else "fatal",
        cause=str(told.get("error_description") or told.get("error") or "")[:200] or None,
        fix=None if later else f"correct `client`, `scopes` and the secret `{oauth.secret}`",
    )
