"""What somebody has to accept before a plugin is locked: rights that nobody gave it yet, another publisher."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflare_packages.lockfile import Locked
from dataflare_packages.rights import bare, lacking
from dataflare_packages.wishes import Wish

Json = Any


@dataclass(frozen=True)
class Consent:
    """What is accepted from now on: all permissions (``grant``), any change of the ``plugins`` that are named."""

    grant: bool = False
    plugins: Collection[str] = ()


@dataclass(frozen=True)
class Wait:
    """A change that waits. ``change``: ``permissions``, ``publisher``; ``asks``: the rules that are new."""

    plugin: str
    version: str
    change: str
    asks: list[dict[str, Json]] = field(default_factory=list)
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Json]:
        """The change as an object, without what it does not have."""
        return {key: value for key, value in vars(self).items() if value}

    def render(self) -> str:
        """The change for people."""
        if self.change == "publisher":
            before, after = (_who(each) for each in (self.before, self.after))
            return f"`{self.plugin}` {self.version} is published by {after}, before it was {before}"
        rules = "; ".join(_words(rule) for rule in self.asks)
        return f"`{self.plugin}` {self.version} asks for {rules}"


def waits(
    name: str,
    version: str,
    told: Mapping[str, Json],
    held: Locked | None,
    wish: Wish | None,
    consent: Consent,
    heir: bool = False,
) -> Iterator[Wait]:
    """What of a release nobody accepted yet. ``heir``: its publisher's key was named by the one that is locked."""
    if name in consent.plugins:
        return
    publisher = told.get("publisher") or {}
    if held is not None and held.publisher and dict(held.publisher) != publisher and not heir:
        yield Wait(name, version, "publisher", before=held.publisher, after=publisher)
    if consent.grant:
        return
    decided = wish.grants if wish else {}
    given = held.grants if held else {}
    asks = [
        {"permission": word, **rule}
        for word, rules in told.get("permissions", {}).items()
        if word not in decided
        for rule in rules
        if any(lacking(word, [rule], given.get(word, ())))
    ]
    if asks:
        yield Wait(name, version, "permissions", asks)


def granted(permissions: Mapping[str, list[Mapping[str, Json]]]) -> dict[str, list[dict[str, Json]]]:
    """The rights that a manifest asks for, as they are granted."""
    return {word: [bare(rule) for rule in rules] for word, rules in permissions.items()}


def _who(publisher: Mapping[str, str]) -> str:
    return f"{publisher['identity']} (key {publisher['keyid'][:16]})" if publisher else "nobody"


def _words(rule: Mapping[str, Json]) -> str:
    said = ", ".join(f"{key} {value}" for key, value in rule.items() if key not in ("permission", "reason"))
    return f"{rule['permission']}{f' ({said})' if said else ''}: {rule.get('reason', 'no reason given')}"
