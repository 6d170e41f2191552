"""What a component may do: manifest ∩ grant ∩ ceiling, and nothing where one of them says nothing.

A permission is a word (``http``, ``secrets``, ``files``, …) with rules. In a rule, ``host``, ``name`` and ``scope`` are
patterns (``*.example.com``), ``path`` is a folder or file, ``methods``, ``ports`` and ``access`` are lists; a key that
a rule leaves out is open, so ``{}`` is everything.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

Rule = Mapping[str, Any]
Grants = Mapping[str, Iterable[Rule]]
"""Permission word → the rules that hold."""
_PATTERNS = ("host", "name", "scope")
_LISTS = ("methods", "ports", "access")
_BOUNDS = frozenset((*_PATTERNS, *_LISTS, "path"))


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
