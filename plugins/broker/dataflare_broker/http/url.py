"""Addresses of requests, read strictly: what two readers could understand differently is refused."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

from dataflare.errors import ConfigError

PORTS = {"http": 80, "https": 443}
LONGEST = 8192
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.IGNORECASE | re.ASCII)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_VISIBLE = re.compile(r"[!-~]+", re.ASCII)
_UNRESERVED = re.compile(r"%(2[de]|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])", re.IGNORECASE)


@dataclass(frozen=True)
class Url:
    """One address. ``host`` is a name in small letters or an IP address in its one form, ``target`` path and query.

    ``path`` is what rules are held against: letters and digits that were written as ``%41`` are plain.
    """

    scheme: str
    host: str
    port: int
    target: str
    path: str

    @property
    def authority(self) -> str:
        """The host as the header says it, the port only where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """The address for messages: without its query."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"


def read_url(given: str) -> Url:
    """The parts of a URL. Raises ConfigError ``http.url``; the message never holds a query, user or password."""
    if not isinstance(given, str) or not _VISIBLE.fullmatch(given) or "\\" in given:
        raise refused("has spaces, control characters, backslashes or letters beyond ASCII", "%-encode them")
    if len(given) > LONGEST:
        raise refused(f"is longer than {LONGEST} characters", "send what is long in the body")
    whole = _URL.fullmatch(given)
    if whole is None:
        raise refused("is no http or https address", "write it in full: `https://api.example.com/orders`")
    scheme, authority, path, query = whole[1].lower(), whole[2], whole[3] or "/", whole[4] or ""
    if "@" in authority:
        raise refused("has a user or password in it", "let the host put credentials in: `secrets` with `inject`")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise refused("has a host that is none", "write a name (IDNA: its `xn--` form) or an IP address")
    host = _ipv6(parts[1]) if parts[1] else _name(parts[2])
    port = int(parts[3]) if parts[3] else PORTS[scheme]
    if not 0 < port < 65536:
        raise refused("has a port that is none", "write one of 1 to 65535")
    return Url(scheme, host, port, path + query, _path(path))


def refused(what: str, fix: str) -> ConfigError:
    """The error for an address that is not sent to."""
    return ConfigError.of("http.url", f"the URL {what}", fix=fix)


def _ipv6(given: str) -> str:
    try:
        return str(ipaddress.IPv6Address(given))
    except ValueError:
        raise refused("has an IPv6 address that is none", "write it in full, without a zone") from None


def _name(given: str) -> str:
    host = given.lower()
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise refused("has a number for a host", "write an IPv4 address as four decimal numbers") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise refused("has a host name that is none", "write letters, digits and `-`, without a dot at the end")
    return host


def _path(given: str) -> str:
    """The path that rules are held against. Raises ConfigError where somebody could read it as going up."""
    known, plain = "", given
    for _ in range(4):
        if plain == known:
            break
        known, plain = plain, unquote(plain, "latin-1")
        pieces = re.split(r"[/\\]", plain)
        if any(piece.partition(";")[0] in (".", "..") for piece in pieces) or re.search(r"[\0-\x1f\x7f]", plain):
            raise refused("has `.`, `..` or control characters in its path", "write the path that is meant")
    else:
        raise refused("has a path that is encoded several times", "encode it once")
    return _UNRESERVED.sub(lambda found: chr(int(found[1], 16)), given)
