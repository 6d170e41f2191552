"""The plugin set of a folder of flows: ``plugins.toml``, which says what they may use beside what is installed.

::

    [plugins.geohash]
    folder = ".dataflare/plugins/geohash/3f2a91/dataflare_geohash"
    digest = "sha256:…"
    isolation = "worker"
    grants = { http = [{ host = "api.example" }] }
    limits = { memory = "64MiB" }

    [loaders.js]
    engine = "quickjs"

    [broker]
    total = "2m"

``dataflare plugin add`` writes it. A plugin of the set takes the place of an installed one with its id.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Problem
from dataflare_host.discover import Faulty, unmet
from dataflare_host.manifest import FILE, Manifest

if TYPE_CHECKING:
    from dataflare.grants import Grants
    from dataflare_host.registry import Table

SET = "plugins.toml"
ISOLATIONS = ("worker", "inline")
INSTALLED = Path(".dataflare", "installed.json")
"""What was installed by the lock of a folder: plugins with their folders and what they are granted."""
_UNPACKED: set[str] = set()
"""What ``_importable`` has put on the path of this process."""
_KEYS = ("folder", "digest", "isolation", "grants", "limits")
_WISHES = ("version", "index", "prereleases")
"""Words for whoever makes the lock."""


@dataclass(frozen=True)
class Member:
    """One plugin of a set. ``folder`` holds its manifest; ``grants`` and ``limits`` are the operator's."""

    id: str
    folder: Path
    digest: str = ""
    isolation: str = ""
    grants: Grants = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)

    def manifest(self) -> Manifest:
        """Its manifest. Raises ConfigError: what is wrong with it, ``plugin.id_mismatch``."""
        from dataflare_host.read_manifest import load_manifest

        found = load_manifest(self.folder / FILE, self.folder.name)
        if found.id != self.id:
            message = f"the set says `{self.id}`, the manifest `{found.id}`"
            raise ConfigError.of("plugin.id_mismatch", message, file=found.file, pointer="/plugin/id")
        if self.isolation and found.runtime != "python":
            message = f"`{self.id}` is a `{found.runtime}` plugin: its isolation cannot be chosen"
            raise ConfigError.of("set.isolation", message, fix="leave `isolation` out")
        if found.runtime != "python" or self.isolation != "inline":
            # What runs outside this process cannot hook into it, make kinds or choose for it.
            isolation = "worker" if found.runtime == "python" else ""
            return replace(found, isolation=isolation, hooks=(), hooks_module="", kinds={}, defaults={})
        return replace(found, isolation="inline")


@dataclass(frozen=True)
class PluginSet:
    """What ``plugins.toml`` says: the plugins by id, the configuration of loaders by name, that of the broker."""

    plugins: Mapping[str, Member] = field(default_factory=dict)
    loaders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    broker: Mapping[str, Any] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    """All plugins that the set or its lock names, installed ones too."""
    inline: frozenset[str] = frozenset()
    """Those that are to work in the host's own process."""

    def beside(self, other: PluginSet) -> PluginSet:
        """Both; where they say the same word, ``other`` holds."""
        return PluginSet(
            {**self.plugins, **other.plugins}, {**self.loaders, **other.loaders}, {**self.broker, **other.broker}
        )


def read_set(folder: Path) -> PluginSet:
    """The set of a folder; an empty one where it has none. Raises ConfigError (``set.…``) with every mistake."""
    file, installed = folder / SET, _installed(folder)
    try:
        given = _toml(file)
    except ConfigError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            return PluginSet()
        raise
    problems: list[Problem] = []
    members: dict[str, Member] = {}
    named = _table(given, "plugins", problems)
    held, of_host = installed.get("plugins", {}), installed.get("host", {})
    for id, told in {**held, **named}.items():
        try:
            if not (id in of_host and _is_wish(told)):
                members[id] = _member(id, told, held.get(id), folder)
        except ConfigError as error:
            problems += error.problems
    loaders = {name: dict(told) for name, told in _table(given, "loaders", problems).items()}
    broker = _table(given, "broker", problems)
    if problems:
        raise ConfigError(*(problem.at(file=str(file)) for problem in problems))
    inline = (id for id, told in named.items() if isinstance(told, Mapping) and told.get("isolation") == "inline")
    return PluginSet(members, loaders, broker, frozenset({*named, *members, *of_host}), frozenset(inline))


def _is_wish(told: Any) -> bool:
    """Does an entry say which versions are wanted, and not where the plugin is?"""
    return isinstance(told, Mapping) and "folder" not in told and not told.keys().isdisjoint(_WISHES)


def _member(id: str, told: Any, held: Mapping[str, Any] | None, folder: Path) -> Member:
    """What the set says of a plugin, over what was installed of it by the lock. Raises ConfigError."""
    if _is_wish(told) and held is None:
        message = f"`{id}` is wanted by the set, and not installed"
        raise _wrong("set.not_synced", id, message, "`dataflare plugin sync`")
    words = {key: value for key, value in told.items() if key not in _WISHES} if isinstance(told, Mapping) else {}
    if wrong := _wrong_grants(words.get("grants", {})):
        raise _wrong("set.grants", id, wrong[1], at=f"/grants{wrong[0]}")
    if held is not None and "folder" not in words:
        words = {**held, **words, "grants": {**held.get("grants", {}), **words.get("grants", {})}}
    words.pop("version", None)  # of what is installed
    if not isinstance(words.get("folder"), str):
        raise _wrong("set.folder", id, f"`{id}` names no folder", _AGAIN)
    if unknown := [key for key in words if key not in _KEYS]:
        raise _wrong("set.unknown_key", id, f"`{unknown[0]}` is not known", ", ".join(_KEYS))
    if words.get("isolation", "") not in ("", *ISOLATIONS):
        raise _wrong("set.isolation", id, f"the isolation cannot be `{words['isolation']}`", "worker or inline")
    return Member(**{**words, "id": id, "folder": folder / words["folder"]})


def _wrong(code: str, id: str, message: str, fix: str | None = None, at: str = "") -> ConfigError:
    return ConfigError.of(code, message, pointer=f"/plugins/{id}{at}", fix=fix)


def named_in(file: Path) -> set[str]:
    """The installed plugins that a set names, ``std = ">=1,<2"`` or as a table, and those that they need.

    Raises ConfigError: ``set.syntax``, ``set.missing`` for what is not installed, ``set.version`` for other versions.
    """
    from dataflare_host.discover import discover
    from dataflare_host.read_manifest import admits

    problems: list[Problem] = []
    named = _table(_toml(file), "plugins", problems)
    have = discover().plugins
    for id, told in named.items():
        wanted = told.get("version", "") if isinstance(told, Mapping) else told
        pointer = f"/plugins/{id}"
        if id not in have:
            fix = f"install `dataflare-{id}`, or take it out of the set"
            problems.append(
                Problem("set.missing", f"the set names `{id}`, which is not here", pointer=pointer, fix=fix)
            )
        elif not isinstance(wanted, str) or (wanted and not admits(wanted, have[id].version)):
            message = f"the set wants `{id}` {wanted}, and {have[id].version} is here"
            fix = f"install `dataflare-{id}` {wanted}, or change the range"
            problems.append(Problem("set.version", message, pointer=pointer, fix=fix))
    if problems:
        raise ConfigError(*(problem.at(file=str(file)) for problem in problems))
    found, pending = set(named), list(named)
    while pending:
        more = {*have[pending.pop()].dependencies} & {*have} - found
        found |= more
        pending += more
    return found


def unpacked(package: Path, version: str) -> Path | None:
    """The folder of another version of a plugin: versions are unpacked beside one another, ``…/DIGEST/PACKAGE``."""
    import tomllib

    for file in package.parent.parent.glob(f"*/{package.name}/{FILE}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = tomllib.loads(file.read_text("utf-8"))["plugin"]["version"]
            if told == version and file.parent.parent.name[0] != ".":
                return file.parent
    return None


def _toml(file: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError.of("set.syntax", f"the plugin set cannot be read: {error}", file=str(file)) from error


def _installed(folder: Path) -> Mapping[str, Any]:
    import json

    try:
        told = json.loads((folder / INSTALLED).read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _wrong_grants(grants: Any) -> tuple[str, str] | None:
    """The first mistake in an operator's grants: pointer, message."""
    from dataflare.grants import mistakes

    if not isinstance(grants, Mapping):
        return "", "`grants` is a table of lists"
    found = ((f"/{word}{at}", f"`{word}`: {told}") for word, rules in grants.items() for at, told in mistakes(rules))
    return next(found, None)


def stamp_of(folder: Path) -> tuple[int, ...] | None:
    """What changes when the set of a folder does, or what is installed for it; None where it has none."""
    found: list[int] = []
    for file in (folder / SET, folder / INSTALLED):
        with suppress(OSError):
            stat = file.stat()
            found += [stat.st_mtime_ns, stat.st_size]
    return tuple(found) or None


def usable(members: PluginSet, table: Table) -> tuple[list[Manifest], tuple[Faulty, ...]]:
    """The manifests of a set that can be used beside a table's plugins, and what is faulty from now on."""
    found: dict[str, Manifest] = {}
    wrong: dict[str, tuple[Problem, ...]] = {}
    for id, member in members.plugins.items():
        try:
            found[id] = member.manifest()
        except ConfigError as error:
            wrong[id] = error.problems
    lacking = unmet({**table.plugins, **found})
    wrong |= {id: problems for id, problems in lacking.items() if id in found}
    manifests = [manifest for id, manifest in found.items() if id not in wrong]
    for manifest in manifests:
        if manifest.isolation == "inline":
            _importable(members.plugins[manifest.id].folder.parent)
    kept = [each for each in table.faulty if each.id not in members.plugins]
    faulty = [*kept, *(Faulty(id, "", "", problems) for id, problems in wrong.items())]
    return manifests, tuple(sorted(faulty, key=lambda each: each.id))


def host_path() -> list[str]:
    """Where imports look, without the folders of unpacked plugins: what lies there is no part of the host."""
    return [entry for entry in sys.path if entry not in _UNPACKED]


def _importable(folder: Path) -> None:
    if (place := str(folder)) not in sys.path:
        sys.path.append(place)
        _UNPACKED.add(place)


_AGAIN = "add the plugin again with `dataflare plugin add`"


def _table(given: Mapping[str, Any], name: str, problems: list[Problem]) -> Mapping[str, Any]:
    found = given.get(name, {})
    if isinstance(found, Mapping):
        return found
    problems.append(Problem("set.syntax", f"`{name}` is not a table", pointer=f"/{name}"))
    return {}
