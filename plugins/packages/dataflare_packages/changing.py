"""Changes of a project's set that end in a lock: a plugin by name, versions that are newer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_author.project_set import ProjectSet
from dataflare_packages.accepting import Consent
from dataflare_packages.installing import Synced, install, installed_of
from dataflare_packages.lockfile import FILE, Lock, read_lock
from dataflare_packages.pylocks import check, differing
from dataflare_packages.wheels import Wheels
from dataflare_packages.wishes import Wish, wishes_of

if TYPE_CHECKING:
    from dataflare_host.host import HostApi
    from dataflare_packages.locking import Locking

Json = Any


def lock(project: Path, host: HostApi, consent: Consent = Consent()) -> dict[str, Json]:
    """Write the lock of a set: ``{"lock", "written", "changes", "plugins"}``."""
    from dataflare_packages.locking import make

    made = make(project, host, consent=consent)
    return _written(made, project)


def sync(project: Path, host: HostApi, *, locked: bool, offline: bool = False, consent: Consent = Consent()) -> Synced:
    """Install what the lock says; a lock that is not there or older than the set is made first, unless ``locked``."""
    if locked:
        found = lock_that_agrees(project)
    else:
        found = read_lock(project) or Lock()
        old = not agrees(found, wishes_of(project)) or differing(found, project) is not None
        if old or not (project / FILE).exists():
            from dataflare_packages.locking import make

            with make(project, host, consent=consent).in_place(project) as found:
                found.write(project)
    return install(found, project, host, Wheels(project, offline=offline))


def agrees(lock: Lock, wishes: Mapping[str, Wish]) -> bool:
    """Was the lock made from just these wishes?"""
    if dict(lock.wanted) != {name: wish.wanted for name, wish in wishes.items()}:
        return False
    added = {name: wish.digest.removeprefix("sha256:") for name, wish in wishes.items() if wish.folder}
    held = {name: each for name, each in lock.plugins.items() if not each.index}
    return {name: each.files[0].sha256 for name, each in held.items()} == added and all(
        not wish.index or lock.plugins[name].index == wish.index
        for name, wish in wishes.items()
        if name in lock.plugins
    )


def lock_that_agrees(project: Path) -> Lock:
    """The lock, where it says what the set says, and the pylocks are its own.

    Raises ConfigError ``lock.none``, ``lock.set_differs``, ``lock.pylock``.
    """
    found = read_lock(project)
    if found is None:
        message = f"there is no `{FILE}` in {project}"
        raise ConfigError.of("lock.none", message, fix=f"make it by `dataflare plugin lock --project {project}`")
    wishes = wishes_of(project)
    if not agrees(found, wishes):
        odd = sorted({name for name in {*wishes, *found.wanted} if not _same(wishes.get(name), found.wanted.get(name))})
        named = ", ".join(f"`{name}`" for name in odd) or "the files that plugins were added from"
        message = "plugins.toml and dataflare.lock disagree"
        cause = f"they say something else of {named}"
        fix = f"lock again by `dataflare plugin lock --project {project}`, or take the set back"
        raise ConfigError.of("lock.set_differs", message, cause=cause, file=str(project / FILE), fix=fix)
    check(found, project)
    return found


def upgrade(
    project: Path, host: HostApi, names: Collection[str], *, plan: bool, consent: Consent = Consent()
) -> dict[str, Json]:
    """Take the newest versions that go together, of some plugins or of all; with ``plan`` nothing is written."""
    from dataflare_packages.locking import make

    unknown = [name for name in names if name not in (read_lock(project) or Lock()).plugins]
    if unknown:
        raise ConfigError.of("lock.unknown", f"`{unknown[0]}` is not in the lock", fix="name plugins of the lock")
    made = make(project, host, consent=consent, upgrade=names or None)
    if plan:
        told = _differences(made, project)
        made.accepted({"differences": told})
        answer = {"changes": made.changes(), "environments": made.environments()}
        return {"plan": True, **answer, "differences": told, "waits": []}
    return _written(made, project)


def add(
    name: str, wanted: str, project: Path, host: HostApi, *, isolation: str = "", consent: Consent = Consent()
) -> dict[str, Json]:
    """Add a plugin by its name: the set, the lock and what is installed change together."""
    from dataflare_packages.locking import make

    wishes = wishes_of(project)
    entry: dict[str, Json] = {**_entry(project, name), "version": wanted}
    for gone in ("folder", "digest"):
        entry.pop(gone, None)
    if isolation:
        entry["isolation"] = isolation
    wish = replace(wishes.get(name, Wish(name)), wanted=wanted, folder="", digest="", isolation=isolation)
    made = make(project, host, consent=consent, wishes={**wishes, name: wish}, upgrade=[name])
    with made.in_place(project) as found:
        synced = install(found, project, host, Wheels(project)) if _installable(found) else None
        ProjectSet(project).put(name, entry)
        found.write(project)
    locked = found.plugins.get(name)
    return {
        "ok": True,
        "plugin": name,
        "version": locked.version if locked else found.host.get(name),
        "changes": made.changes(),
        "installed": list(synced.installed) if synced else [],
    }


def remove(name: str, project: Path, host: HostApi) -> None:
    """Take a plugin out of the set; of what was locked for it, what nobody else needs goes too."""
    ProjectSet(project).drop(name)
    if read_lock(project) is None:
        return
    from dataflare_packages.locking import make

    made = make(project, host)
    with made.in_place(project) as found:
        found.write(project)
    if installed_of(project):
        install(made.lock, project, host, Wheels(project))


def _written(made: Locking, project: Path) -> dict[str, Json]:
    with made.in_place(project) as found:
        written = found.write(project)
    return {
        "lock": str(project / FILE),
        "written": written,
        "changes": made.changes(),
        "environments": made.environments(),
        "plugins": {name: each.version for name, each in sorted(found.plugins.items())},
    }


def _differences(made: Locking, project: Path) -> dict[str, list[dict[str, Json]]]:
    """Plugin → what changes for those who use it; without the releases that its index does not have any more."""
    from dataflare_index.trusted import indexes_of
    from dataflare_packages.differing import compare
    from dataflare_packages.surface import surface_in

    indexes = indexes_of(project)
    found = {}
    for each in made.changes():
        name, old, new = each["plugin"], made.before.plugins.get(each["plugin"]), made.lock.plugins.get(each["plugin"])
        if old is None or new is None or not old.index or not new.index:
            continue
        try:
            sides = [surface_in(indexes, name, side.version, side.index) for side in (old, new)]
        except ConfigError as error:
            if error.code != "index.unknown":
                raise
            continue
        found[name] = [difference.as_json() for difference in compare(*sides).differences]
    return found


def _entry(project: Path, name: str) -> Mapping[str, Json]:
    return ProjectSet(project).entry(name) or {}


def _installable(found: Lock) -> bool:
    return bool(found.host) or any(each.index for each in found.plugins.values())


def _same(wish: Wish | None, wanted: str | None) -> bool:
    return (wish is None) == (wanted is None) and (wish is None or wish.wanted == wanted)
