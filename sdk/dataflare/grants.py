"""What a component may do: manifest ∩ grant ∩ ceiling, and nothing where one of them says nothing.

A permission is a word (``http``, ``secrets``, ``files``, …) with rules. In a rule, ``host``, ``name`` and ``scope`` are
patterns (``*.example.com``), ``path`` is a folder or file, ``methods``, ``schemes``, ``ports``, ``kinds`` and
``access`` are lists; a key that a rule leaves out is open, so ``{}`` is everything.

Some words a manifest cannot say, only who grants: ``networks``, addresses that are not public and may be reached all
the same (``["10.0.0.0/8"]``), and where an input comes from (``address``, …). Others tell how a secret is used
(``inject``, …): whoever says one fixes it, and where two say different things nothing is given.
"""

from __future__ import annotations

import ipaddress
import posixpath
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from dataflare.context import ByteStream, Metrics, NoMetrics, NotGranted
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.http import Http

Rule = Mapping[str, Any]
Grants = Mapping[str, Iterable[Rule]]
"""Permission word → the rules that hold."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_PATTERNS = ("host", "name", "scope")
_LISTS = ("methods", "schemes", "ports", "kinds", "access")
_BOUNDS = frozenset((*_PATTERNS, *_LISTS, "path"))
_FIXED = frozenset("inject prefix token_url client scopes flow client_secret".split())
"""Words that two layers may both say, if they say the same."""
_GIVEN = frozenset("networks address peers connections buffer overflow".split())
"""Words that the first layer, the manifest, cannot say."""
SCOPES = {
    "flows": "flow:read",
    "events": "flow:read",
    "table": "plugin:read",
    "plan": "plan",
    "component": "component",
    "command": "flow:command",
    "emit": "event:write",
}
"""What a component with the permission ``host`` can be let do: method of the HostApi → scope."""


def effective(*layers: Grants | None) -> dict[str, list[dict[str, Any]]]:
    """The rights that every layer gives (manifest, grant, ceiling). None is a layer without a bound.

    Reasons and other words come from the first layer, the manifest.
    """
    first, *others = layers
    rights = {word: [_asked(rule) for rule in rules] for word, rules in (first or {}).items()}
    for layer in others:
        if layer is not None:
            rights = {word: _meet(rules, layer.get(word, ())) for word, rules in rights.items()}
    return {word: rules for word, rules in rights.items() if rules}


def allows(grants: Grants, word: str, **wanted: str | int) -> bool:
    """Does a rule of ``word`` hold for this: ``allows(grants, "http", host="api.acme.example", methods="GET")``?"""
    return bool(matching(grants, word, **wanted))


def matching(grants: Grants, word: str, **wanted: str | int) -> list[Rule]:
    """The rules of ``word`` that hold for this."""
    return [
        rule
        for rule in grants.get(word, ())
        if all(_covers(key, rule[key], value) for key, value in wanted.items() if key in rule)
    ]


def mistakes(rules: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the rules of one word, wherever they are written: a pointer into them, and a message."""
    if not isinstance(rules, list) or not all(isinstance(rule, Mapping) for rule in rules):
        yield "", "rules are a list of tables"
        return
    for index, rule in enumerate(rules):
        for key, value in rule.items():
            if key in (*_LISTS, "networks", "peers", "scopes") and not isinstance(value, list):
                yield f"/{index}/{key}", f"`{key}` must be a list"
            elif key in ("networks", "peers"):
                try:
                    networks_of(value)
                except ConfigError as error:
                    yield f"/{index}/{key}", error.problems[0].message
            elif key in (*_PATTERNS, "path", "address", "inject") and not isinstance(value, str):
                yield f"/{index}/{key}", f"`{key}` must be text"


def networks_of(given: Iterable[str]) -> list[Network]:
    """Networks that a rule names. Raises ConfigError ``permission.networks``."""
    try:
        return [ipaddress.ip_network(each, strict=False) for each in given]
    except (ValueError, TypeError) as error:
        fix = 'write for example `["10.1.0.0/16", "::1/128"]`'
        raise ConfigError.of("permission.networks", f"a grant's network is none: {error}", fix=fix) from None


@dataclass(frozen=True)
class Asker:
    """Who asks the broker: a step of a flow, with its rights. ``base`` is where relative paths of an input start."""

    step: str
    grants: Grants
    host: Any = None
    flow: str = ""
    base: Path = field(default_factory=Path)
    cancel: threading.Event = field(default_factory=threading.Event)
    metrics: Metrics = field(default_factory=NoMetrics)

    def secret(self, name: str) -> str:
        """A secret's value, for the broker's own use."""
        value: str = self.host.secret(name, self.step)
        return value


def services(step: str, grants: Grants, host: Any, **around: Any) -> dict[str, Any]:
    """The parts of a step's Context that refuse what is not granted: ``http``, ``inputs``, ``secrets``, ``host``.

    ``host`` is a HostApi; ``around`` are other words of ``Asker``: ``flow``, ``base``, ``cancel``, ``metrics``.
    """
    outside = _Outside(Asker(step, grants, host, **around))
    return {
        "http": outside if grants.get("http") else NotGranted("http"),
        "inputs": outside.input if grants.get("inputs") else None,
        "on_close": outside.close,
        "secrets": GrantedSecrets(host, step, grants),
        "host": GrantedHost(host, grants) if grants.get("host") else NotGranted("host"),
    }


@dataclass(frozen=True)
class GrantedSecrets:
    """``ctx.secrets``: those that the grants name."""

    host: Any
    step: str
    grants: Grants

    def get(self, name: str) -> str:
        """The value. Raises PermissionDenied, ConfigError ``secret.unknown``.

        A secret that is granted only for the broker to put in (``inject``) is not told.
        """
        rules = matching(self.grants, "secrets", name=name)
        if not any("inject" not in rule for rule in rules):
            if rules:
                raise PermissionDenied.of(
                    "permission.injected",
                    f"the secret `{name}` is put into requests by the host; `{self.step}` is not told its value",
                    fix="send the request by `ctx.http`; or ask for the secret without `inject`",
                )
            raise PermissionDenied.of(
                "permission.denied",
                f"the secret `{name}` is not granted to `{self.step}`",
                fix=f"give it by configuration (`${{secret:{name}}}`), or name it in the manifest's [permissions]",
            )
        value: str = self.host.secret(name, self.step)
        return value


class GrantedHost:
    """``ctx.host``: the methods of the HostApi whose scopes are granted."""

    def __init__(self, host: Any, grants: Grants) -> None:
        self._host = host
        self._grants = grants

    def __getattr__(self, name: str) -> Any:
        scope = SCOPES.get(name)
        if scope is None or not allows(self._grants, "host", scope=scope):
            raise PermissionDenied.of(
                "permission.denied",
                f"`host.{name}` is not granted to this component",
                fix=f'add `host = [{{ scope = "{scope}", … }}]` to the manifest\'s [permissions]' if scope else None,
            )
        return getattr(self._host, name)


class _Outside(Http):
    """``ctx.http`` and ``ctx.input`` of one lane, by the broker that the host has, found at the first use."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._lock = threading.Lock()
        self._http: Http | None = None
        self._inputs: dict[str, Any] = {}

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None) -> Any:
        with self._lock:
            http = self._http = self._http or self._broker().http(self._asker)
        return http.send(method, url, headers, body, timeout)

    def input(self, name: str) -> ByteStream:
        with self._lock:
            if name not in self._inputs:
                self._inputs[name] = self._broker().input(name, self._asker)
            found: ByteStream = self._inputs[name]
            return found

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
        self._http = None
        while self._inputs:
            self._inputs.popitem()[1].close()

    def _broker(self) -> Any:
        found = self._asker.host.broker()
        if found is None:
            raise PermissionDenied.of(
                "permission.no_broker",
                "no installed plugin brings a broker for HTTP and inputs",
                fix="install one, or use a client of your own",
            )
        return found


def _asked(rule: Rule) -> dict[str, Any]:
    """What a manifest can say."""
    return {key: value for key, value in rule.items() if key not in _GIVEN}


def _meet(rules: Iterable[Rule], others: Iterable[Rule]) -> list[dict[str, Any]]:
    others = list(others)
    met = (_meet_rules(rule, other) for rule in rules for other in others)
    return [rule for rule in met if rule is not None]


def _meet_rules(rule: Rule, other: Rule) -> dict[str, Any] | None:
    """What both rules give, or None."""
    met = {**{key: value for key, value in other.items() if key in _BOUNDS | _FIXED | _GIVEN}, **rule}
    for key in (_BOUNDS | _FIXED | _GIVEN) & rule.keys() & other.keys():
        mine, theirs = rule[key], other[key]
        if key == "networks":
            met[key] = _overlap(mine, theirs)
        elif key in _LISTS:
            met[key] = [value for value in mine if value in theirs]
            if not met[key]:
                return None
        elif key in _FIXED | _GIVEN:
            if mine != theirs:
                return None
        elif _covers(key, theirs, mine):
            met[key] = mine
        elif _covers(key, mine, theirs):
            met[key] = theirs
        else:
            return None
    return met


def _overlap(mine: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """The networks that are in both lists."""
    pairs = [(one, other) for one in networks_of(mine) for other in networks_of(theirs)]
    met = [max(pair, key=lambda each: each.prefixlen) for pair in pairs if _overlaps(*pair)]
    return list(dict.fromkeys(map(str, met)))


def _overlaps(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)  # type: ignore[arg-type]


def _covers(key: str, bound: Any, value: str | int) -> bool:
    if key in _LISTS:
        return value in bound
    text = str(value)
    if key == "path":
        outer, inner = PurePosixPath(posixpath.normpath(bound)), PurePosixPath(posixpath.normpath(text))
        return inner == outer or outer in inner.parents
    if key == "host":
        return fnmatchcase(text.lower(), bound.lower())
    return fnmatchcase(text, bound)
