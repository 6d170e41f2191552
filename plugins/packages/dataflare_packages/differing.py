"""What changed between two versions of a plugin for those who use it, and whether the version's number says so.

The rule is that of semantic versioning: what breaks a flow, a state or an operator's grants raises the first number,
what is new the second. Below 1.0 the second stands for the first, and the third for the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from dataflare.errors import ConfigError
from dataflare_packages.rights import lacking
from dataflare_packages.schema_changes import Weight, changes
from dataflare_packages.surface import Surface

Json = Any
WEIGHTS: tuple[Weight, ...] = ("patch", "minor", "major")
_PROMISES = {"deterministic": (True,), "stable_ids": (True,), "replay": ("position",)}
"""Abilities that somebody may count on, with the values that promise something."""
_MEANING = ("ability", "cardinality", "outputs", "inputs", "by", "effects")
"""Abilities whose change means that a flow gets other rows, or another guarantee."""


@dataclass(frozen=True)
class Difference:
    """One change. ``what``: a ``component``, its ``config``, an ``ability``, a ``permission`` …"""

    what: str
    place: str
    words: str
    weight: Weight

    def as_json(self) -> dict[str, Json]:
        """The change as an object."""
        return dict(vars(self))


@dataclass(frozen=True)
class Compared:
    """Two versions side by side. ``needs``: what their differences weigh together; None where there are none."""

    old: Surface
    new: Surface
    differences: tuple[Difference, ...]

    @property
    def needs(self) -> Weight | None:
        """The heaviest weight."""
        return max((each.weight for each in self.differences), key=WEIGHTS.index, default=None)

    @property
    def says(self) -> Weight | None:
        """What the version's number says; None where it does not rise."""
        return _raised(_version(self.old), _version(self.new))

    @property
    def honest(self) -> bool:
        """Does the number say at least as much as the differences weigh?"""
        if self.needs is None:
            return _version(self.new) >= _version(self.old)
        return self.says is not None and WEIGHTS.index(self.says) >= WEIGHTS.index(self.needs)


def compare(old: Surface, new: Surface) -> Compared:
    """Compare two versions of a plugin. Raises ConfigError ``diff.other_plugin``, ``diff.plugin``."""
    if old.id != new.id:
        message = f"`{old.id}` and `{new.id}` are two plugins"
        raise ConfigError.of("diff.other_plugin", message, fix="name two versions of one plugin")
    return Compared(old, new, tuple(differences(old, new)))


def differences(old: Surface, new: Surface) -> Iterator[Difference]:
    """What changed, in the order of its place."""
    yield from _components(old.components, new.components)
    yield from _permissions(old.manifest.get("permissions", {}), new.manifest.get("permissions", {}))
    yield from _ranges(old.manifest, new.manifest)


def _components(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    aliases = {f"{each['kind']}/{alias}": place for place, each in new.items() for alias in each.get("aliases", ())}
    for place in sorted({*old, *new}):
        if place not in old:
            yield Difference("component", place, "is new", "minor")
            continue
        after = new.get(place) or new.get(aliases.get(place, ""))
        if after is None:
            yield Difference("component", place, "is gone", "major")
            continue
        if place not in new:
            yield Difference("component", place, f"is called {after['name']} now, and answers to both", "minor")
        if not old[place].get("deprecated") and after.get("deprecated"):
            yield Difference("component", place, "is deprecated", "minor")
        for pointer, words, weight in changes(old[place].get("config") or {}, after.get("config") or {}):
            yield Difference("config", f"{place}{pointer}", words, weight)
        yield from _abilities(place, old[place].get("abilities") or {}, after.get("abilities") or {})
        yield from _state(place, old[place], after)


def _abilities(place: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        broken = name in _MEANING or before in _PROMISES.get(name, ())
        words = f"{name} is {after!r}, was {before!r}"
        yield Difference("ability", place, words, "major" if broken else "minor")


def _state(place: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    before, after = old.get("version", 1), new.get("version", 1)
    if after == before:
        return
    moves = {"migrate_state", "migrate_position"} & set(new.get("operations", ()))
    words = f"the version of its state is {after}, was {before}"
    if after < before:
        yield Difference("state", place, f"{words}: older states than what is kept", "major")
    elif not moves:
        yield Difference("state", place, f"{words}, and it migrates nothing", "major")
    else:
        yield Difference("state", place, f"{words}; it migrates", "minor")


def _permissions(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    for word in sorted({*old, *new}):
        for rule in lacking(word, new.get(word, ()), old.get(word, ())):
            yield Difference("permission", word, f"asks for more: {_rule(rule)}", "minor")
        for rule in lacking(word, old.get(word, ()), new.get(word, ())):
            yield Difference("permission", word, f"does not ask any more for: {_rule(rule)}", "patch")


def _ranges(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    for word in ("requires", "host"):
        before, after = (each.get("api", {}).get(word, "") for each in (old, new))
        if _set(before) != _set(after):
            yield Difference("api", word, f"needs {after or 'any'}, needed {before or 'any'}", "minor")
    for feature in sorted(set(new.get("api", {}).get("features", ())) - set(old.get("api", {}).get("features", ()))):
        yield Difference("api", f"feature {feature}", "is needed now", "minor")
    before, after = old.get("dependencies", {}), new.get("dependencies", {})
    for name in sorted({*before, *after}):
        if name not in after:
            yield Difference("dependency", name, "is not needed any more", "patch")
        elif name not in before:
            yield Difference("dependency", name, f"is needed now: {after[name]}", "minor")
        elif _set(before[name]) != _set(after[name]):
            yield Difference("dependency", name, f"is needed as {after[name]}, was as {before[name]}", "minor")


def _rule(rule: Mapping[str, Json]) -> str:
    return ", ".join(f"{key} {value}" for key, value in rule.items()) or "everything"


def _set(wanted: str) -> SpecifierSet:
    try:
        return SpecifierSet(wanted)
    except InvalidSpecifier as error:
        raise ConfigError.of("diff.plugin", f"`{wanted}` is no range of versions") from error


def _version(surface: Surface) -> Version:
    try:
        return Version(surface.version)
    except InvalidVersion as error:
        raise ConfigError.of("diff.plugin", f"`{surface.version}` is no version") from error


def _raised(old: Version, new: Version) -> Weight | None:
    if new <= old:
        return None
    (first, second, third), (now_first, now_second, now_third) = ((*each.release, 0, 0)[:3] for each in (old, new))
    if now_first > first:
        return "major"
    if now_second > second:
        return "minor" if first else "major"
    return "patch" if first or now_third == third else "minor"
