"""What a component may do: manifest ∩ grant ∩ ceiling, and nothing where one of them says nothing.

A permission is a word (``http``, ``secrets``, ``files``, …) with rules. In a rule, ``host``, ``name`` and ``scope`` are
patterns (``*.example.com``), ``path`` is a folder or file, ``methods``, ``ports`` and ``access`` are lists; a key that
a rule leaves out is open, so ``{}`` is everything.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from dataflare.context import NotGranted
from dataflare.errors import PermissionDenied

Rule = Mapping[str, Any]
Grants = Mapping[str, Iterable[Rule]]
"""Permission word → the rules that hold."""
_PATTERNS = ("host", "name", "scope")
_LISTS = ("methods", "ports", "access")
_BOUNDS = frozenset((*_PATTERNS, *_LISTS, "path"))
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
    rights = {word: [dict(rule) for rule in rules] for word, rules in (first or {}).items()}
    for layer in others:
        if layer is not None:
            rights = {word: _meet(rules, layer.get(word, ())) for word, rules in rights.items()}
    return {word: rules for word, rules in rights.items() if rules}


def allows(grants: Grants, word: str, **wanted: str) -> bool:
    """Does a rule of ``word`` hold for this: ``allows(grants, "http", host="api.acme.example", methods="GET")``?"""
    return any(
        all(_covers(key, rule[key], value) for key, value in wanted.items() if key in rule)
        for rule in grants.get(word, ())
    )


def services(step: str, grants: Grants, host: Any) -> dict[str, Any]:
    """The parts of a step's Context that refuse what is not granted: ``http``, ``secrets``, ``host`` (a HostApi)."""
    return {
        "http": _NoBroker() if grants.get("http") else NotGranted("http"),
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
        """The value. Raises PermissionDenied, ConfigError ``secret.unknown``."""
        if not allows(self.grants, "secrets", name=name):
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


class _NoBroker:
    """Stands for the HTTP broker where it is granted, but nothing brings one."""

    def __getattr__(self, name: str) -> Any:
        raise PermissionDenied.of(
            "permission.no_broker",
            "no installed plugin brings an HTTP broker",
            fix="install one, or use a client of your own",
        )


def _meet(rules: Iterable[Rule], others: Iterable[Rule]) -> list[dict[str, Any]]:
    others = list(others)
    met = (_meet_rules(rule, other) for rule in rules for other in others)
    return [rule for rule in met if rule is not None]


def _meet_rules(rule: Rule, other: Rule) -> dict[str, Any] | None:
    """What both rules give, or None."""
    met = {**{key: value for key, value in other.items() if key in _BOUNDS}, **rule}
    for key in _BOUNDS & rule.keys() & other.keys():
        mine, theirs = rule[key], other[key]
        if key in _LISTS:
            met[key] = [value for value in mine if value in theirs]
            if not met[key]:
                return None
        elif _covers(key, theirs, mine):
            met[key] = mine
        elif _covers(key, mine, theirs):
            met[key] = theirs
        else:
            return None
    return met


def _covers(key: str, bound: Any, value: str) -> bool:
    if key in _LISTS:
        return value in bound
    if key == "path":
        outer, inner = PurePosixPath(posixpath.normpath(bound)), PurePosixPath(posixpath.normpath(value))
        return inner == outer or outer in inner.parents
    return fnmatchcase(value, bound)
