"""Releases of plugins and what they demand; ranges of versions as sets of releases.

What a host is (the contract's version, Python's, its own, its features) stands beside the plugins as packages with one
release, so that a conflict with the host is found and explained like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from dataflare.errors import ConfigError

API, HOST, PYTHON, FEATURE, PLATFORM = "dataflare-api", "dataflare-host", "python", "feature:", "platform:"


@dataclass(frozen=True)
class Release:
    """One version of a plugin. ``requires``: package → range; ``yanked``: the reason, None where it is not."""

    name: str
    version: str
    requires: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)
    yanked: str | None = field(default=None, compare=False)

    @cached_property
    def parsed(self) -> Version:
        """The version. Raises ConfigError ``resolve.version``."""
        try:
            return Version(self.version)
        except InvalidVersion as error:
            message = f"`{self.version}` of `{self.name}` is no version"
            raise ConfigError.of("resolve.version", message, fix="versions are as in PEP 440: 1.2.0, 2.0rc1") from error


@dataclass(frozen=True)
class Here:
    """What a host offers: versions of the plugin contract, the host and Python, features, platform tags."""

    api: str
    host: str
    python: str
    features: frozenset[str] = frozenset()
    platforms: frozenset[str] = frozenset()

    def releases(self, name: str) -> list[Release] | None:
        """The one release of a package that stands for the host, none where it lacks it; None for plugins."""
        known = {API: self.api, HOST: self.host, PYTHON: self.python}
        if name in known:
            return [Release(name, known[name])]
        for prefix, have in ((FEATURE, self.features), (PLATFORM, self.platforms)):
            if name.startswith(prefix):
                return [Release(name, "1")] if name.removeprefix(prefix) in have else []
        return None


class Choice(NamedTuple):
    """A release that may be taken; ``bit``: it alone, as a set."""

    name: str
    bit: int
    release: Release


Listing = Callable[[str], Iterable[Release]]
"""The releases of a plugin, in any order; none where there is no such plugin."""


class Shelf:
    """All releases that a resolution may choose from, newest first, each with a bit in its package's sets.

    ``prereleases``: packages whose pre-releases are wanted. ``locked``: versions that are kept while they fit, yanked
    ones too (PEP 592).
    """

    def __init__(
        self,
        listing: Listing,
        here: Here,
        locked: Mapping[str, str] = {},
        prereleases: Iterable[str] = (),
    ) -> None:
        self._listing = listing
        self._here = here
        self.locked = dict(locked)
        self._prereleases = frozenset(prereleases)
        self._releases: dict[str, Sequence[Release]] = {}
        self._choices: dict[str, list[Choice]] = {}
        self._sets: dict[tuple[str, str], int] = {}
        self._ranges: dict[str, SpecifierSet] = {}

    def releases(self, name: str) -> Sequence[Release]:
        """The releases of a package, newest first."""
        found = self._releases.get(name)
        if found is None:
            own = self._here.releases(name)
            given = {each.parsed: each for each in (self._listing(name) if own is None else own)}
            found = self._releases[name] = [given[version] for version in sorted(given, reverse=True)]
        return found

    def within(self, name: str, wanted: str) -> int:
        """The releases of a package in a range, as a set of bits: bit *i* is ``releases(name)[i]``."""
        key = name, wanted
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = self._within(name, wanted)
        return found

    def chosen(self, name: str, bits: int) -> list[Choice]:
        """The releases of a set, in the order of preference: the locked one, then the newest first."""
        choices = self._choices.get(name)
        if choices is None:
            choices = [Choice(name, 1 << index, release) for index, release in enumerate(self.releases(name))]
            self._choices[name] = choices
        found = [choice for choice in choices if choice.bit & bits]
        held = self.locked.get(name)
        if held is not None and found and found[0].release.version != held:
            found.sort(key=lambda choice: choice.release.version != held)
        return found

    def _within(self, name: str, wanted: str) -> int:
        specifiers = self._range(wanted)
        exact = len(specifiers) == 1 and next(iter(specifiers)).operator in ("==", "===") and "*" not in wanted
        asked = bool(specifiers.prereleases) or name in self._prereleases
        final = early = 0
        for index, release in enumerate(self.releases(name)):
            if not specifiers.contains(release.parsed, prereleases=True):
                continue
            if release.yanked is not None and not exact and self.locked.get(name) != release.version:
                continue
            if release.parsed.is_prerelease and self.locked.get(name) != release.version:
                early |= 1 << index
            else:
                final |= 1 << index
        return final | early if asked or not final else final

    def _range(self, wanted: str) -> SpecifierSet:
        found = self._ranges.get(wanted)
        if found is None:
            try:
                found = self._ranges[wanted] = SpecifierSet(wanted)
            except InvalidSpecifier as error:
                message = f"`{wanted}` is no range of versions"
                raise ConfigError.of("resolve.range", message, fix="write it as in PEP 440: >=1.2,<2") from error
        return found
