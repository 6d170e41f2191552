"""Answers about a lock: why a plugin is in it, its tree, what is newer, what is wrong with what is locked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from dataflare.errors import ConfigError
from dataflare_author.project_set import FOLDER
from dataflare_packages.changing import lock_that_agrees
from dataflare_packages.installing import damaged, installed_of
from dataflare_packages.lockfile import Lock, read_lock
from dataflare_packages.sources import Sources
from dataflare_packages.wishes import wishes_of
from dataflare_packages.withdrawn import harm_of

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

Json = Any


def why(name: str, project: Path) -> dict[str, Json]:
    """The ways by which a plugin came into the lock: ``{"plugin", "version", "index", "grants", "chains"}``."""
    lock = _lock(project)
    locked = lock.plugins.get(name)
    version = locked.version if locked else lock.host.get(name)
    if version is None:
        raise ConfigError.of("lock.unknown", f"`{name}` is not in the lock", fix="see `dataflare plugin tree`")
    return {
        "plugin": name,
        "version": version,
        "index": locked.index if locked else "",
        "publisher": dict(locked.publisher) if locked else {},
        "grants": dict(locked.grants) if locked else {},
        "chains": list(_chains(name, lock)),
    }


def tree(project: Path) -> dict[str, Json]:
    """What needs what: ``{"roots": [{"plugin", "version", "wanted", "needs": […]}]}``."""
    lock = _lock(project)
    return {"roots": [_branch(name, wanted, lock, ()) for name, wanted in sorted(lock.wanted.items())]}


def outdated(project: Path, host: HostApi) -> dict[str, Json]:
    """Plugins with newer releases: ``{"outdated": [{"plugin", "locked", "newest", "within"}]}``.

    ``within``: does the set allow the newest?
    """
    from packaging.specifiers import SpecifierSet

    lock, wishes = _lock(project), wishes_of(project)
    homes = {name: each.index for name, each in lock.plugins.items() if each.index}
    sources = Sources(project, wishes, host, homes)
    found = []
    for name, locked in sorted(lock.plugins.items()):
        if not locked.index:
            continue
        known = [Version(each) for each, told in sources.told(name).items() if not told.get("yanked")]
        final = [each for each in known if not each.is_prerelease]
        newest = max(final or known, default=Version(locked.version))
        if newest > Version(locked.version):
            within = SpecifierSet(lock.wanted.get(name, "")).contains(newest, prereleases=True)
            told = {"plugin": name, "locked": locked.version, "newest": str(newest), "within": within}
            found.append(told)
    return {"outdated": found}


def audit(project: Path, host: HostApi) -> dict[str, Json]:
    """What is wrong with what is locked and installed: ``{"ok", "findings", "checked"}``.

    Yanked releases, advisories, releases that changed or are gone, damaged files, a lock that differs from the set.
    """
    lock = _lock(project)
    findings = [*_of_set(project), *_of_files(lock, project), *_of_indexes(lock, project, host)]
    return {"ok": not findings, "findings": findings, "checked": sorted(lock.plugins)}


def _of_set(project: Path) -> Iterator[dict[str, Json]]:
    try:
        lock_that_agrees(project)
    except ConfigError as error:
        yield {"plugin": None, "finding": "set_differs", "message": error.problems[0].message}


def _of_files(lock: Lock, project: Path) -> Iterator[dict[str, Json]]:
    for name, told in installed_of(project).get("plugins", {}).items():
        locked = lock.plugins.get(name)
        if locked is None or locked.version != told["version"]:
            message = f"{told['version']} is installed, {locked.version if locked else 'nothing'} is locked"
            yield {"plugin": name, "finding": "not_synced", "message": message}
        if wrong := damaged(project / told["folder"]):
            yield {"plugin": name, "finding": "damaged", "message": f"changed since it was installed: {wrong[0]}"}
    for home in sorted((project / FOLDER).glob("*")) if (project / FOLDER).is_dir() else ():
        if home.is_dir() and home.name not in lock.plugins:
            yield {"plugin": home.name, "finding": "not_locked", "message": "it is unpacked here, and not in the lock"}


def _of_indexes(lock: Lock, project: Path, host: HostApi) -> Iterator[dict[str, Json]]:
    homes = {name: each.index for name, each in lock.plugins.items() if each.index}
    sources = Sources(project, wishes_of(project), host, homes)
    for name, source in sorted(lock.indexes.items()):
        if name in sources.indexes and (why := sources.indexes[name].revoked(source.snapshot)):
            message = f"snapshot {source.snapshot} of the index `{name}`, which the lock was made from: {why}"
            yield {"plugin": None, "finding": "revoked_snapshot", "message": message}
    for name, locked in sorted(lock.plugins.items()):
        if not locked.index:
            continue
        told = sources.told(name).get(locked.version)
        if told is None:
            yield {"plugin": name, "finding": "gone", "message": f"the index has no {locked.version} any more"}
            continue
        if told["manifest_sha256"] != locked.manifest:
            yield {"plugin": name, "finding": "changed", "message": "the index has another manifest under this version"}
        if told.get("yanked"):
            yield {"plugin": name, "finding": "yanked", "message": f"{locked.version}: {told['yanked']}"}
        if dict(told.get("publisher") or {}) != dict(locked.publisher):
            yield {"plugin": name, "finding": "publisher", "message": "the index names another publisher than the lock"}
        listed = sources.listed(name)
        for advisory in listed.warned(locked.version) if listed else ():
            message = f"{advisory['kind']}: {advisory['reason']}"
            yield {"plugin": name, "finding": "advisory", "message": message, "advisory": advisory}
        if listed and (harm := harm_of(listed, locked.version)) and harm.attack != "malware":
            yield {"plugin": name, "finding": harm.attack, "message": harm.why}


def _chains(name: str, lock: Lock) -> Iterator[list[dict[str, str]]]:
    """The shortest way from each demand of the set that leads to a plugin."""
    for root, wanted in sorted(lock.wanted.items()):
        pending = deque([[{"plugin": "", "needs": root, "wanted": wanted}]])
        seen = {root}
        while pending:
            chain = pending.popleft()
            last = chain[-1]["needs"]
            if last == name:
                yield chain
                break
            requires = lock.plugins[last].requires if last in lock.plugins else {}
            for needed in sorted({*requires} - seen):
                seen.add(needed)
                pending.append([*chain, {"plugin": last, "needs": needed, "wanted": requires[needed]}])


def _branch(name: str, wanted: str, lock: Lock, above: tuple[str, ...]) -> dict[str, Json]:
    locked = lock.plugins.get(name)
    told = {"plugin": name, "version": locked.version if locked else lock.host.get(name, ""), "wanted": wanted}
    if name in above:
        return {**told, "cycle": True, "needs": []}
    requires = locked.requires if locked else {}
    known = [each for each in sorted(requires) if each in lock.plugins or each in lock.host]
    return {**told, "needs": [_branch(each, requires[each], lock, (*above, name)) for each in known]}


def _lock(project: Path) -> Lock:
    found = read_lock(project)
    if found is None:
        message = f"there is no `dataflare.lock` in {project}"
        raise ConfigError.of("lock.none", message, fix=f"make it by `dataflare plugin lock --project {project}`")
    return found
