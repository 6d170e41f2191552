"""Headers of requests and answers: what a component may say, and what it is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dataflare.errors import ConfigError

MOST = 100
MOST_BYTES = 32 << 10
OWN = frozenset(
    "host content-length transfer-encoding connection keep-alive te trailer upgrade expect accept-encoding "
    "proxy-authorization proxy-authenticate proxy-connection http2-settings forwarded x-forwarded-host".split()
)
"""The broker's own: how the request travels."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


def checked_method(given: str) -> str:
    """A method. Raises ConfigError ``http.method``."""
    if not re.fullmatch(r"[A-Z]{1,20}", given, re.ASCII) or given in ("CONNECT", "TRACE"):
        raise ConfigError.of("http.method", f"{given[:20]!r} is not a method that is sent")
    return given


def checked_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Headers of a component, names in small letters. Raises ConfigError ``http.header``; no message holds a value."""
    if len(given) > MOST or sum(len(name) + len(str(value)) for name, value in given.items()) > MOST_BYTES:
        raise ConfigError.of("http.header", f"the headers are more than {MOST}, or larger than {MOST_BYTES >> 10} KiB")
    made: dict[str, str] = {}
    for name, value in given.items():
        low = str(name).lower()
        if not isinstance(name, str) or not _TOKEN.fullmatch(name) or low in made:
            raise ConfigError.of("http.header", f"{str(name)[:40]!r} is not the name of a header, or is there twice")
        if low in OWN:
            raise ConfigError.of("http.header", f"the header `{name}` is the broker's own", fix="leave it out")
        if not isinstance(value, str) or not can_be_sent(value):
            message = f"the value of the header `{name}` has line ends, control characters or letters beyond Latin-1"
            raise ConfigError.of("http.header", message, fix="encode it")
        made[low] = value
    return made


def can_be_sent(value: str) -> bool:
    """Is this a header's value, and not more than one line?"""
    return _VALUE.fullmatch(value) is not None


def told_headers(given: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers of an answer: names in small letters, those that come several times joined by commas."""
    made: dict[str, str] = {}
    for name, value in given:
        low, text = name.decode("latin-1").lower(), value.decode("latin-1")
        made[low] = f"{made[low]}, {text}" if low in made else text
    return made
