"""Secrets that the host puts into requests: which, where to, and how they are kept out of what comes back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote, quote_plus

from dataflare.errors import ConfigError
from dataflare.grants import Rule
from dataflare_broker.http.headers import OWN
from dataflare_broker.http.url import Url, read_url

HIDDEN = "•••"
SHORTEST = 4
"""Shorter secrets are not looked for: they would be found everywhere."""
_INTO_HEADER = re.compile(r"http-header:([A-Za-z0-9-]+)@([A-Za-z0-9*._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?", re.ASCII)


@dataclass(frozen=True)
class Injection:
    """A rule of ``secrets`` with ``inject``: a header for one host, from a secret or an OAuth token.

    ``insecure``: the grant names the scheme ``http``; else the secret travels over TLS only.
    """

    name: str
    header: str
    host: str
    port: int | None = None
    prefix: str = ""
    insecure: bool = False
    oauth: OAuth | None = None

    def meets(self, url: Url) -> bool:
        """Does it belong into a request to this address?"""
        if not fnmatchcase(url.host, self.host) or self.port not in (None, url.port):
            return False
        return url.scheme == "https" or self.insecure


@dataclass(frozen=True)
class OAuth:
    """Where a token comes from. ``secret`` names the client's secret, or the refresh token of that flow."""

    url: Url
    client: str
    secret: str
    flow: str = "client_credentials"
    scopes: tuple[str, ...] = ()
    client_secret: str | None = None
    networks: tuple[str, ...] = ()


def injections(rules: Iterable[Rule]) -> list[Injection]:
    """What the grants let be put in. Raises ConfigError ``http.inject``."""
    return [_injection(rule) for rule in rules if "inject" in rule]


def _injection(rule: Rule) -> Injection:
    name, inject = str(rule.get("name", "")), str(rule["inject"])
    if not name or any(letter in name for letter in "*?["):
        raise _wrong(rule, "`name` must name one secret")
    insecure = "http" in rule.get("schemes", ())
    if inject == "oauth2":
        return Injection(name, "authorization", _host(rule, rule.get("host")), None, "", insecure, _oauth(rule, name))
    parts = _INTO_HEADER.fullmatch(inject)
    if parts is None or parts[1].lower() in OWN:
        raise _wrong(rule, f"`{inject}` does not say where it goes")
    port = int(parts[3]) if parts[3] else None
    return Injection(name, parts[1].lower(), _host(rule, parts[2]), port, str(rule.get("prefix", "")), insecure)


def _host(rule: Rule, given: Any) -> str:
    """A host that a secret is for. Only its first label may be a pattern."""
    host = str(given or "").lower().strip("[]")
    labels = host.split(".")
    if (
        not host
        or any(letter in label for label in labels[1:] for letter in "*?[")
        or (any(letter in labels[0] for letter in "*?[") and len(labels) < 3)
    ):
        raise _wrong(rule, f"`{given}` is no host that a secret may go to")
    return host


def _oauth(rule: Rule, name: str) -> OAuth:
    flow, client, at = rule.get("flow", "client_credentials"), rule.get("client"), rule.get("token_url")
    if flow not in ("client_credentials", "refresh_token") or not isinstance(client, str) or not isinstance(at, str):
        raise _wrong(rule, "oauth2 needs `token_url`, `client`, and `flow`: client_credentials or refresh_token")
    url = read_url(at)
    if url.scheme != "https" and "http" not in rule.get("schemes", ()):
        raise _wrong(rule, "`token_url` must be https, or the rule name the scheme http")
    scopes = tuple(str(scope) for scope in rule.get("scopes", ()))
    return OAuth(url, client, name, flow, scopes, rule.get("client_secret"), tuple(rule.get("networks", ())))


def _wrong(rule: Rule, message: str) -> ConfigError:
    fix = 'write `inject = "http-header:NAME@HOST"`, or `inject = "oauth2"` with `host`, `token_url` and `client`'
    return ConfigError.of("http.inject", f"the secret `{rule.get('name')}`: {message}", fix=fix)


class Scrubber:
    """Takes secrets out of what a component gets to see, in the forms that services repeat them in."""

    def __init__(self) -> None:
        self._forms: tuple[bytes, ...] = ()  # replaced as a whole: other threads read it

    def learn(self, secret: str) -> None:
        """One more value that is never shown."""
        if len(secret) >= SHORTEST and secret.encode() not in self._forms:
            self._forms = tuple(sorted({*self._forms, *_forms(secret)}, key=len, reverse=True))

    def bytes(self, given: bytes) -> bytes:
        """Without the secrets."""
        for form in self._forms:
            if form in given:
                given = given.replace(form, HIDDEN.encode())
        return given

    def text(self, given: str) -> str:
        """Without the secrets."""
        return self.bytes(given.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """Without the secrets."""
        return {self.text(name): self.text(value) for name, value in given.items()}


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    yield raw
    for written in (quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]):
        yield written.encode()
    yield json.dumps(secret, ensure_ascii=False)[1:-1].encode()
    yield raw.hex().encode()
    encoders: tuple[Callable[[bytes], bytes], ...] = (base64.b64encode, base64.urlsafe_b64encode)
    for encode in encoders:
        for shift in range(3):  # also inside something longer: the letters that do not depend on what stands around
            begin = (shift * 8 + 5) // 6
            whole = encode(b"\0" * shift + raw)[begin : (shift + len(raw)) * 8 // 6]
            if len(whole) >= SHORTEST * 2:
                yield whole
