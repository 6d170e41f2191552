"""Adds a plugin to a project: checked, granted, unpacked, prepared, and written into the project's set."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataflare.errors import ConfigError
from dataflare_author.auditing import audit, loader_of
from dataflare_author.project_set import FOLDER, ProjectSet
from dataflare_author.wheel_check import Wheel, read_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dataflare_host.host import HostApi
    from dataflare_host.manifest import Manifest

Json = Any
Isolation = Literal["worker", "inline"]
KEPT = 3
"""Unpacked wheels of a plugin that stay: a run that began before may still start guests from its own."""


@dataclass(frozen=True)
class Added:
    """What was added, or, where ``granted`` is false, what it asks for before it can be."""

    plugin: str
    version: str
    digest: str
    runtime: str
    isolation: str
    components: tuple[str, ...]
    asks: tuple[Mapping[str, Json], ...]
    granted: bool
    audited: bool = False
    folder: str = ""
    notes: tuple[str, ...] = field(default=())


def add(wheel_file: Path, project: Path, isolation: Isolation | None, grant: bool, host: HostApi) -> Added:
    """Add the plugin of a wheel. Raises ConfigError: ``author.…``, ``plugin.…``, what its loader refuses."""
    if not project.is_dir():
        message = f"there is no folder `{project}`"
        raise ConfigError.of("author.no_project", message, fix="name the folder of the flows by --project")
    wheel, known = read_wheel(wheel_file), ProjectSet(project)
    with known.changing():
        return _added(wheel, known, isolation, grant, host)


def add_again(package: Path, project: Path, grant: bool, host: HostApi) -> Added:
    """Put a version that is unpacked yet in the place of the one that the set has. Raises ConfigError."""
    from dataflare_host.read_manifest import load_manifest

    known = ProjectSet(project)
    with known.changing():
        manifest = load_manifest(package / "dataflare.toml", package.name)
        entry = known.entry(manifest.id) or {}
        held = str(entry.get("isolation") or _isolation(manifest, None))
        digest = f"sha256:{package.parent.name}" if "digest" in entry else ""
        told = _told(manifest, digest, held, entry, grant, audited=True)
        if told.granted:
            _prepare(manifest, "worker" if held == "worker" else manifest.runtime, host)
            made = _entry(told, package.relative_to(project), entry)
            known.put(manifest.id, made if digest else {key: made[key] for key in made if key != "digest"})
            os.utime(package.parent)  # the last that is swept away
        return told


def asked(manifest: Manifest) -> tuple[Mapping[str, Json], ...]:
    """What a plugin asks for, each with its reason: ``{"permission", "reason", …}``."""
    rules = sorted(manifest.permissions.items())
    return tuple({"permission": word, **rule} for word, listed in rules for rule in listed)


def _added(wheel: Wheel, known: ProjectSet, isolation: Isolation | None, grant: bool, host: HostApi) -> Added:
    project = known.project
    home = project / FOLDER / wheel.names.id
    home.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".adding-", dir=home))
    try:
        manifest = _manifest(wheel, aside)
        held = _isolation(manifest, isolation)
        runtime = "worker" if held == "worker" else manifest.runtime
        audited = runtime == "python" or audit(manifest, host, runtime)
        told = _told(manifest, f"sha256:{wheel.digest}", held, known.entry(manifest.id), grant, audited)
        if not told.granted:
            return told
        folder = home / wheel.digest
        if not _intact(wheel, folder):
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(aside, folder)
        os.utime(folder)  # what was in use last is the last that is swept away
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    package = folder / wheel.names.package
    _prepare(replace(manifest, file=str(package / Path(manifest.file).name)), runtime, host)
    known.put(manifest.id, _entry(told, package.relative_to(project), known.entry(manifest.id) or {}))
    _sweep(home, folder)
    return replace(told, folder=str(package))


def _told(
    manifest: Manifest, digest: str, held: str, entry: Mapping[str, Json] | None, grant: bool, audited: bool
) -> Added:
    asks = asked(manifest)
    return Added(
        plugin=manifest.id,
        version=manifest.version,
        digest=digest,
        runtime=manifest.runtime,
        isolation=held,
        components=_components(manifest),
        asks=asks,
        granted=grant or _granted(asks, entry),
        audited=audited,
        notes=tuple(_notes(held, audited)),
    )


def _manifest(wheel: Wheel, aside: Path) -> Manifest:
    from dataflare_host.read_manifest import load_manifest

    package = wheel.unpack(aside)
    manifest = load_manifest(package / "dataflare.toml", wheel.names.package)
    if manifest.id != wheel.names.id or manifest.version != wheel.version:
        told = f"`{wheel.names.id}` {wheel.version}"
        message = f"the wheel says it is {told}, its manifest `{manifest.id}` {manifest.version}"
        raise ConfigError.of("author.wheel", message, file=str(wheel.path), fix="build it by `dataflare plugin build`")
    return manifest


def _isolation(manifest: Manifest, wanted: Isolation | None) -> str:
    """How a plugin is held: Python in a worker unless somebody says inline; the others as their runtime does."""
    if manifest.runtime == "python":
        return wanted or "worker"
    if wanted is not None:
        message = f"`{manifest.id}` has the runtime `{manifest.runtime}`, which holds it by itself"
        raise ConfigError.of("author.isolation", message, fix="leave out --isolation: it is for plugins in Python")
    return manifest.runtime


def _notes(isolation: str, audited: bool) -> Iterator[str]:
    if not audited:
        yield f"no loader `{isolation}` is installed here: the code was not audited, and flows cannot use it yet"
    if isolation == "inline":
        yield "its code runs in the host's own process, with all rights of the host"


def _components(manifest: Manifest) -> tuple[str, ...]:
    named = (manifest.components or {}).items()
    return tuple(f"{kind} {manifest.id}/{name}" for kind, listed in named for name in listed)


def _granted(asks: tuple[Mapping[str, Json], ...], entry: Mapping[str, Json] | None) -> bool:
    """Was all of it granted before, to the version that is there now?"""
    return all(_held(rule["permission"], _bare(rule), entry or {}) is not None for rule in asks)


def _held(word: str, rule: Mapping[str, Json], entry: Mapping[str, Json]) -> Mapping[str, Json] | None:
    """The rule of an entry that says the same, and perhaps more: what the operator wrote stays."""
    rules: list[Mapping[str, Json]] = entry.get("grants", {}).get(word, [])
    return next((held for held in rules if rule.items() <= held.items()), None)


def _bare(rule: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in rule.items() if key not in ("permission", "reason")}


def _entry(told: Added, folder: Path, former: Mapping[str, Json]) -> dict[str, Json]:
    """The entry of the set; what an operator wrote into the former one stays."""
    entry: dict[str, Json] = {"folder": folder.as_posix(), "digest": told.digest}
    if told.runtime == "python":
        entry["isolation"] = told.isolation
    grants: dict[str, list[Json]] = {}
    for rule in told.asks:
        word, wanted = rule["permission"], _bare(rule)
        grants.setdefault(word, []).append(_held(word, wanted, former) or wanted)
    kept = {key: value for key, value in former.items() if key not in ("folder", "digest", "isolation", "grants")}
    return {**entry, **({"grants": grants} if grants else {}), **kept}


def _intact(wheel: Wheel, folder: Path) -> bool:
    """Is the wheel unpacked there already? Then it stays, since flows may be running from it."""
    try:
        return all((folder / name).read_bytes() == content for name, content in wheel.files.items())
    except OSError:
        return False


def _prepare(manifest: Manifest, runtime: str, host: HostApi) -> None:
    """Compile it, make its environment: whatever its loader can do before the first run."""
    loader = None if runtime == "python" else loader_of(runtime, host)
    if loader is not None:
        loader.prepare(manifest, host)


def _sweep(home: Path, current: Path) -> None:
    """Delete what others left unfinished, and the oldest of what was unpacked before."""
    others = sorted((path for path in home.iterdir() if path != current), key=lambda path: path.stat().st_mtime)
    finished = [path for path in others if not path.name.startswith(".")]
    for former in {*others} - {*finished[1 - KEPT :]}:
        shutil.rmtree(former, ignore_errors=True)
