"""Where an input comes from, as a grant says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from dataflare.errors import ConfigError
from dataflare.grants import Network, Rule, networks_of
from dataflare.types import parse_bytes

KINDS = {"udp": "udp", "tcp": "tcp", "tcp-listen": "tcp", "tty": "tty", "file": "file"}
"""Scheme of an address → the kind that a manifest asks for."""
OPTIONS = {
    "udp": {"interface": ""},
    "tcp": {"reconnect": "yes"},
    "tcp-listen": {},
    "tty": {"baud": "9600"},
    "file": {"from": "end", "follow": "yes"},
}
"""Scheme → what may follow the `?`, and what holds else."""
CHOICES = {"from": ("start", "end"), "follow": ("yes", "no"), "reconnect": ("yes", "no")}
OVERFLOWS = ("block", "drop_oldest", "drop_newest")
BUFFER = 4 << 20
EXAMPLES = (
    "`udp://0.0.0.0:10110`, `tcp://HOST:PORT`, `tcp-listen://HOST:PORT`, `tty:/dev/ttyUSB0?baud=4800`, `file:PATH`"
)


@dataclass(frozen=True)
class Origin:
    """One input of a grant. ``peers``: who may send (empty: anybody); ``buffer`` in bytes."""

    scheme: str
    host: str
    port: int
    path: Path
    options: Mapping[str, str]
    peers: tuple[Network, ...]
    connections: int
    buffer: int
    overflow: str

    @property
    def kind(self) -> str:
        """The kind that a manifest asks for."""
        return KINDS[self.scheme]


def read_origin(rule: Rule, base: Path) -> Origin:
    """The input of a rule. Raises ConfigError ``input.address``, ``input.option``."""
    given = str(rule["address"])
    try:
        parts = urlsplit(given)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _no_address(given, str(error)) from None
    if parts.scheme not in KINDS:
        raise _no_address(given, f"`{parts.scheme}` is not a way in")
    networked = parts.scheme in ("udp", "tcp", "tcp-listen")
    if networked and (not host or port is None):
        raise _no_address(given, "host or port is missing")
    if not networked and (not parts.path or parts.netloc):
        raise _no_address(given, "the path is missing, or stands behind `//`")
    overflow = rule.get("overflow", "drop_oldest" if parts.scheme == "udp" else "block")
    connections = rule.get("connections", 1)
    if overflow not in OVERFLOWS or type(connections) is not int or connections < 1:
        fix = f"`overflow` is one of {', '.join(OVERFLOWS)}; `connections` a number from 1 on"
        raise ConfigError.of("input.option", f"the input `{rule.get('name')}` has a wrong option", fix=fix)
    return Origin(
        parts.scheme,
        host,
        port or 0,
        base / unquote(parts.path),
        _options(parts.scheme, parts.query),
        tuple(networks_of(rule.get("peers", ()))),
        connections,
        _bytes(rule),
        overflow,
    )


def _options(scheme: str, query: str) -> Mapping[str, str]:
    known = OPTIONS[scheme]
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in given.items():
        if name not in known or value not in CHOICES.get(name, (value,)) or (name == "baud" and not value.isdigit()):
            fix = f"known here: {', '.join(known) or 'none'}"
            raise ConfigError.of("input.option", f"`{name}={value}` is not an option of `{scheme}`", fix=fix)
    return {**known, **given}


def _bytes(rule: Rule) -> int:
    given: Any = rule.get("buffer", BUFFER)
    try:
        return max(1 << 10, parse_bytes(given))
    except ValueError as error:
        raise ConfigError.of("input.option", f"`buffer` of the input `{rule.get('name')}`: {error}") from None


def _no_address(given: str, cause: str) -> ConfigError:
    return ConfigError.of("input.address", f"`{given}` is no address of an input", cause=cause, fix=f"write {EXAMPLES}")
