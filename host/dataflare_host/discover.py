"""The plugins that are installed here, found and read without importing any of their code.

A distribution claims a plugin id by an entry point of the group ``dataflare.plugins``: name = id, value = a top-level
package, which is located, never imported. What was read is cached by folder and by file, so that start-up costs
neither a scan of all metadata nor the parsing of all manifests. A cache that cannot be read is ignored.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataflare.declare import nearest
from dataflare.errors import ConfigError, Problem
from dataflare_host.manifest import CONTRACT, FILE, VERSION, Manifest, admits, load_manifest

GROUP = "dataflare.plugins"
_CACHE_FORMAT = 1
_METADATA = (".dist-info", ".egg-info")
_SETTLED = 2.0
"""Seconds after which a folder's time stamp is trusted: a change within the clock's grain would go unseen."""


@dataclass(frozen=True)
class Claim:
    """A distribution says that ``package`` is the plugin ``id``."""

    id: str
    package: str
    distribution: str
    version: str


@dataclass(frozen=True)
class Faulty:
    """A plugin that is installed but cannot be used, and why."""

    id: str
    distribution: str
    version: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Catalogue:
    """What is installed: plugins by id, and those that cannot be used."""

    plugins: dict[str, Manifest] = field(default_factory=dict)
    faulty: tuple[Faulty, ...] = ()


def discover(plugins: Iterable[str] | None = None) -> Catalogue:
    """The plugins of this interpreter; with ``plugins``, only these ids (the rest is faulty: ``plugin.not_in_set``)."""
    cache = _Cache.load(_cache_file())
    claims = _claims(cache, sys.path)
    found: dict[str, Manifest] = {}
    faulty: list[Faulty] = []
    wanted = None if plugins is None else set(plugins)
    for claim, problem in _one_claimant(claims):
        outside = wanted is not None and claim.id not in wanted
        if outside:
            problem = Problem(
                "plugin.not_in_set",
                f"`{claim.id}` is installed, but the plugin set does not name it",
                fix=f"add `{claim.id}` to the set",
            )
        try:
            if problem is not None:
                raise ConfigError(problem)
            found[claim.id] = _manifest(cache, claim)
        except ConfigError as error:
            faulty.append(Faulty(claim.id, claim.distribution, claim.version, error.problems))
    for id, problems in _unmet(cache, found).items():
        faulty.append(Faulty(id, "", found.pop(id).version, problems))
    cache.save()
    return Catalogue(dict(sorted(found.items())), tuple(sorted(faulty, key=lambda each: each.id)))


def _claims(cache: _Cache, path: Sequence[str]) -> list[Claim]:
    """All claims on the path; of two distributions of one name the first on the path counts, as for imports."""
    claims: list[Claim] = []
    seen: dict[str, str] = {}
    for folder in dict.fromkeys(os.path.abspath(entry) for entry in path):
        for claim in cache.claims(folder):
            if seen.setdefault(claim.distribution, folder) == folder:
                claims.append(claim)
    return claims


def _scan(folder: str) -> list[Claim]:
    import importlib.metadata
    import re

    claims = []
    for found in importlib.metadata.distributions(path=[folder]):
        if GROUP in (found.read_text("entry_points.txt") or ""):
            name = re.sub(r"[-_.]+", "-", str(found.metadata["Name"])).lower()
            chosen = found.entry_points.select(group=GROUP)
            claims += [Claim(entry.name, entry.value, name, str(found.version)) for entry in chosen]
    return claims


def _one_claimant(claims: Iterable[Claim]) -> list[tuple[Claim, Problem | None]]:
    """Each claim, and what is wrong with it. The distribution ``dataflare-ID`` owns ID; without it, nobody wins."""
    by_id: dict[str, list[Claim]] = {}
    for claim in claims:
        by_id.setdefault(claim.id, []).append(claim)
    judged: list[tuple[Claim, Problem | None]] = []
    for id, rivals in by_id.items():
        owners = [claim for claim in rivals if claim.distribution == f"dataflare-{id}"] or rivals
        conflict = Problem(
            "plugin.id_conflict",
            f"the id `{id}` is claimed by {' and '.join(sorted(f'`{claim.distribution}`' for claim in rivals))}",
            fix="uninstall all but one of them",
        )
        judged += [(claim, None if owners == [claim] else conflict) for claim in rivals]
    return judged


def _manifest(cache: _Cache, claim: Claim) -> Manifest:
    if "." in claim.package or ":" in claim.package:
        raise ConfigError.of(
            "plugin.package_dotted",
            f"the entry point `{claim.id}` names `{claim.package}`; finding it would run its parent's code",
            fix="name a top-level package in the entry point",
        )
    try:
        spec = importlib.util.find_spec(claim.package)
    except (ImportError, ValueError) as error:
        raise ConfigError.of("plugin.package_missing", f"`{claim.package}` cannot be located: {error}") from error
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise ConfigError.of(
            "plugin.package_missing",
            f"`{claim.distribution}` is installed, but its package `{claim.package}` is not there",
            fix=f"install `{claim.distribution}` again, or uninstall it",
        )
    manifest = cache.manifest(Path(folders[0]) / FILE, claim.package)
    if manifest.id != claim.id:
        raise ConfigError.of(
            "plugin.id_mismatch",
            f"the entry point says `{claim.id}`, the manifest `{manifest.id}`",
            file=manifest.file,
            pointer="/plugin/id",
            fix="give both the same name",
        )
    return manifest


def _unmet(cache: _Cache, found: dict[str, Manifest]) -> dict[str, tuple[Problem, ...]]:
    """Plugins whose dependencies are absent or of another version; what depends on those falls with them."""
    versions = {id: manifest.version for id, manifest in found.items()}
    needing = {id: manifest for id, manifest in found.items() if manifest.dependencies}
    unmet: dict[str, tuple[Problem, ...]] = {}
    while True:
        more = {
            id: problems
            for id, manifest in needing.items()
            if id not in unmet and (problems := _lacks(cache, manifest, versions))
        }
        if not more:
            return unmet
        unmet |= more
        versions = {id: version for id, version in versions.items() if id not in more}


def _lacks(cache: _Cache, manifest: Manifest, versions: dict[str, str]) -> tuple[Problem, ...]:
    problems = []
    for name, wanted in manifest.dependencies.items():
        have = versions.get(name)
        if have is not None and cache.admits(wanted, have):
            continue
        near = nearest(name, versions) if have is None else None
        message = f"it needs the plugin `{name}` {wanted}, " + (f"got {have}" if have else "which is not usable here")
        fix = f"did you mean `{near}`?" if near else f"install `dataflare-{name}` {wanted}"
        pointer = f"/dependencies/{name}"
        problems.append(Problem("plugin.dependency", message, file=manifest.file, pointer=pointer, fix=fix))
    return tuple(problems)


def _cache_file() -> Path:
    """One file an interpreter's prefix, below ``$DATAFLARE_CACHE`` or the user's cache folder."""
    import zlib

    given = os.environ.get("DATAFLARE_CACHE")
    if given:
        folder = Path(given)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or os.path.expanduser("~"), "dataflare", "cache")
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dataflare")
    return folder / f"plugins-{zlib.crc32(sys.prefix.encode()):08x}.json"


@dataclass
class _Cache:
    """What was read before, with the time stamps that say whether it still holds."""

    file: Path
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    ranges: dict[str, bool] = field(default_factory=dict)
    changed: bool = False

    @property
    def made_by(self) -> list[object]:
        return [_CACHE_FORMAT, CONTRACT, VERSION, sys.version]

    @classmethod
    def load(cls, file: Path) -> _Cache:
        empty = cls(file)
        try:
            given = json.loads(file.read_bytes())
            if given["made_by"] != empty.made_by:
                return empty
            for kept in given["folders"].values():
                kept["claims"] = [Claim(**claim) for claim in kept["claims"]]
            for kept in given["files"].values():
                kept["manifest"] = kept["manifest"] and Manifest.from_json(kept["manifest"])
                kept["problems"] = tuple(Problem(**problem) for problem in kept["problems"])
            return cls(file, given["folders"], given["files"], dict(given["ranges"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return empty

    def claims(self, folder: str) -> list[Claim]:
        """The claims of the distributions whose metadata lie in a folder (or zip file) of the path."""
        try:
            stamp = os.stat(folder).st_mtime_ns
            kept = self.folders.get(folder)
            if kept is not None and kept["stamp"] == stamp:
                return list(kept["claims"])
            # Most folders hold no distribution: listing them is cheaper than the import that scanning needs.
            if os.path.isdir(folder) and not any(name.endswith(_METADATA) for name in os.listdir(folder)):
                return []
        except OSError:
            return []
        claims = _scan(folder)
        self._keep(self.folders, folder, stamp, {"claims": claims})
        return claims

    def manifest(self, file: Path, package: str) -> Manifest:
        """The manifest in a file. Raises ConfigError."""
        try:
            stat = file.stat()
        except OSError:
            return load_manifest(file, package)
        kept = self.files.get(str(file), {})
        if (kept.get("stamp"), kept.get("size"), kept.get("package")) != (stat.st_mtime_ns, stat.st_size, package):
            kept = {"size": stat.st_size, "package": package, "manifest": None, "problems": ()}
            try:
                kept["manifest"] = load_manifest(file, package)
            except ConfigError as error:
                kept["problems"] = error.problems
            self._keep(self.files, str(file), stat.st_mtime_ns, kept)
        if kept["manifest"] is None:
            raise ConfigError(*kept["problems"])
        return kept["manifest"]  # type: ignore[no-any-return]

    def admits(self, wanted: str, version: str) -> bool:
        """Is the version in the range?"""
        key = f"{wanted} {version}"
        if key not in self.ranges:
            self.ranges[key] = bool(admits(wanted, version))
            self.changed = True
        return self.ranges[key]

    def _keep(self, kept: dict[str, dict[str, Any]], key: str, stamp: int, value: dict[str, Any]) -> None:
        if time.time() - stamp / 1e9 < _SETTLED:
            self.changed |= kept.pop(key, None) is not None
            return
        kept[key] = {"stamp": stamp, **value}
        self.changed = True

    def save(self) -> None:
        """Write what is new; a cache that cannot be written costs time, nothing else."""
        if not self.changed:
            return
        path = {os.path.abspath(entry) for entry in sys.path}
        folders = {
            folder: {**kept, "claims": [asdict(claim) for claim in kept["claims"]]}
            for folder, kept in self.folders.items()
            if folder in path
        }
        files = {
            file: {
                **kept,
                "manifest": kept["manifest"] and kept["manifest"].as_json(),
                "problems": [asdict(problem) for problem in kept["problems"]],
            }
            for file, kept in self.files.items()
            if os.path.exists(file)
        }
        value = {"made_by": self.made_by, "folders": folders, "files": files, "ranges": self.ranges}
        aside = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(value, default=str), "utf-8")
            os.replace(aside, self.file)
        except OSError:
            with suppress(OSError):
                aside.unlink()
