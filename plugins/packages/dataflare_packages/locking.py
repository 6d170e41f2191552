"""Makes the lock of a project: solves for its whole set at once, and asks for what has to be accepted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare_author.refusals import NoSolution, NotAccepted
from dataflare_packages.accepting import Consent, Wait, granted, waits
from dataflare_packages.explaining import explain
from dataflare_packages.lockfile import Lock, Locked, LockedFile, Source, read_lock
from dataflare_packages.releases import Release, Shelf
from dataflare_packages.solving import TooDeep, solve
from dataflare_packages.sources import Sources, here, manifest_in
from dataflare_packages.wishes import Wish, wishes_of

if TYPE_CHECKING:
    from dataflare_host.host import HostApi
    from dataflare_host.manifest import Manifest

Json = Any


@dataclass(frozen=True)
class Locking:
    """A lock that was made, and not written yet. ``before``: the one there is; ``waits``: what has to be accepted."""

    lock: Lock
    before: Lock
    waits: tuple[Wait, ...]

    def changes(self) -> list[dict[str, Json]]:
        """Each plugin whose version changes: ``{"plugin", "from", "to"}``."""
        old, new = self.before.plugins, self.lock.plugins
        told = [(name, _version(old.get(name)), _version(new.get(name))) for name in sorted({*old, *new})]
        return [{"plugin": name, "from": one, "to": other} for name, one, other in told if one != other]

    def accepted(self, more: Mapping[str, Json] = {}) -> Lock:
        """The lock. Raises NotAccepted ``lock.not_accepted`` where something waits; ``more``: details for it."""
        if self.waits:
            raise NotAccepted.of(
                "lock.not_accepted",
                "a change has to be accepted first",
                cause="; ".join(wait.render() for wait in self.waits),
                fix="give --grant to grant what is asked for, --accept NAME to accept all of a plugin's change",
                details={"waits": [wait.as_json() for wait in self.waits], "changes": self.changes(), **more},
            )
        return self.lock


def make(
    project: Path,
    host: HostApi,
    *,
    consent: Consent = Consent(),
    upgrade: Collection[str] | None = (),
    wishes: Mapping[str, Wish] | None = None,
) -> Locking:
    """The lock of a project's set. What is locked stays while it fits, but for what is to ``upgrade`` (None: all).

    Raises NoSolution ``lock.no_solution``, NotTrusted, ConfigError.
    """
    before = read_lock(project) or Lock()
    wishes = wishes_of(project) if wishes is None else wishes
    known = before.plugins if upgrade is not None else {}
    kept = {name: each.version for name, each in known.items() if name not in (upgrade or ())}
    homes = {name: each.index for name, each in before.plugins.items() if each.index}
    sources = Sources(project, wishes, host, homes)
    shelf = Shelf(sources.releases, here(host), kept, [name for name, wish in wishes.items() if wish.prereleases])
    roots = {name: wish.wanted for name, wish in wishes.items()}
    chosen = _solved(roots, shelf, sources.passed_over)
    pending: list[Wait] = []
    plugins, own = {}, {}
    for name, release in chosen.items():
        wish = wishes.get(name)
        if wish is not None and wish.folder:
            plugins[name] = _added(manifest_in(project / wish.folder), wish)
        elif sources.of_host(name):
            own[name] = release.version
        elif told := sources.told(name).get(release.version):
            sources.check(name, release.version)
            held = before.plugins.get(name)
            pending += waits(name, release.version, told, held, wish, consent, _heir(sources, name, held, told))
            plugins[name] = _locked(release, told, sources.home(name), wish)
    used = {each.index for each in plugins.values()}
    indexes = {name: Source(index.place, index.snapshot()) for name, index in sources.indexes.items() if name in used}
    return Locking(_steady(Lock(roots, indexes, plugins, own), before), before, tuple(pending))


def _solved(roots: Mapping[str, str], shelf: Shelf, passed_over: Mapping[str, Collection[str]]) -> dict[str, Release]:
    try:
        found = solve(roots, shelf)
        if found is not None:
            return found
        conflict = explain(roots, shelf)
    except TooDeep as error:
        fix = f"narrow the ranges of {', '.join(f'`{name}`' for name in error.names)}"
        raise NoSolution.of(
            "lock.too_deep",
            "the search for versions that go together was given up",
            fix=fix,
            details={"core": dict.fromkeys(error.names, ""), "chains": [], "fixes": []},
        ) from error
    lines = conflict.render().splitlines()
    fixes = [line.strip() for line in lines if line.startswith("  fix: ")]
    told = [line.strip() for line in lines[1:] if line.strip() not in fixes]
    involved = {*conflict.core, *(link.name for chain in conflict.chains for link in chain)}
    told += [f"not chosen: {each}" for name in sorted(involved) for each in passed_over.get(name, ())]
    cause = "; ".join(told)
    fix = "; ".join(each.removeprefix("fix: ") for each in fixes) or "take one of these demands out of the set"
    raise NoSolution.of("lock.no_solution", lines[0].rstrip(":"), cause=cause, fix=fix, details=conflict.as_json())


def _locked(release: Release, told: Mapping[str, Json], home: str, wish: Wish | None) -> Locked:
    files = [LockedFile(name, each["sha256"], each["size"]) for name, each in sorted(told["files"].items())]
    return Locked(
        release.version,
        index=home,
        runtime=told["runtime"],
        isolation=_isolation(told["runtime"], wish),
        manifest=told["manifest_sha256"],
        publisher=told.get("publisher") or {},
        requires=release.requires,
        grants=_given(granted(told.get("permissions", {})), wish),
        files=tuple(files),
    )


def _added(manifest: Manifest, wish: Wish) -> Locked:
    name = f"{manifest.package}-{manifest.version}-py3-none-any.whl"
    return Locked(
        manifest.version,
        runtime=manifest.runtime,
        isolation=_isolation(manifest.runtime, wish),
        requires=manifest.dependencies,
        grants=dict(wish.grants),
        files=(LockedFile(name, wish.digest.removeprefix("sha256:")),),
    )


def _heir(sources: Sources, name: str, held: Locked | None, told: Mapping[str, Json]) -> bool:
    """Is the key of a release one that the key which is locked named as its successor?"""
    from dataflare_index.publishers import follows

    listed = sources.listed(name)
    return bool(held and listed and follows(listed, held.publisher, told.get("publisher") or {}))


def _isolation(runtime: str, wish: Wish | None) -> str:
    return ((wish.isolation if wish else "") or "worker") if runtime == "python" else ""


def _given(asked: dict[str, list[dict[str, Json]]], wish: Wish | None) -> dict[str, list[dict[str, Json]]]:
    """What is granted: what the operator wrote of a word holds, else what was asked for."""
    decided = dict(wish.grants) if wish else {}
    return {word: [dict(rule) for rule in decided.get(word, rules)] for word, rules in asked.items()}


def _steady(lock: Lock, before: Lock) -> Lock:
    """A new snapshot of an index alone changes nothing in a lock."""
    same = replace(lock, indexes=before.indexes)
    places = {name: each.place for name, each in lock.indexes.items()}
    if same.text() == before.text() and places == {name: each.place for name, each in before.indexes.items()}:
        return before
    return lock


def _version(locked: Locked | None) -> str | None:
    return None if locked is None else locked.version
