"""Makes the lock of a project: solves for its whole set at once, and asks for what has to be accepted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

from dataflare_author.refusals import NoSolution, NotAccepted
from dataflare_packages.accepting import Consent, Wait, granted, waits
from dataflare_packages.explaining import explain
from dataflare_packages.lockfile import Lock, Locked, LockedFile, Source, digest_of, read_lock
from dataflare_packages.pylocks import Order, are_lent, made, needs_of_others, written
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
    """A lock that was made, and not written yet. ``before``: the one there is; ``waits``: what has to be accepted.

    ``pylocks``: plugin → the content of its pylock; none are made where something waits.
    """

    lock: Lock
    before: Lock
    waits: tuple[Wait, ...]
    pylocks: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def changes(self) -> list[dict[str, Json]]:
        """Each plugin whose version changes: ``{"plugin", "from", "to"}``."""
        old, new = self.before.plugins, self.lock.plugins
        told = [(name, _version(old.get(name)), _version(new.get(name))) for name in sorted({*old, *new})]
        return [{"plugin": name, "from": one, "to": other} for name, one, other in told if one != other]

    def environments(self) -> list[str]:
        """The plugins whose pylock changes; ``""``: that of the host's own process."""
        old, new = self.before.pylocks(), self.lock.pylocks()
        return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))

    @contextmanager
    def in_place(self, project: Path) -> Iterator[Lock]:
        """The lock, its pylocks in the project; they are taken back if what is done with it fails.

        Raises NotAccepted.
        """
        found = self.accepted()
        with written(self.pylocks, self.before, project):
            yield found

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
    plugins: dict[str, Locked] = {}
    own: dict[str, str] = {}
    pythons: dict[str, SpecifierSet] = {}
    for name, release in chosen.items():
        wish = wishes.get(name)
        if wish is not None and wish.folder:
            manifest = manifest_in(project / wish.folder)
            plugins[name] = _added(manifest, wish)
            pythons[name] = SpecifierSet()
        elif sources.of_host(name):
            own[name] = release.version
            pending += waits(name, release.version, {"permissions": sources.asks(name)}, None, wish, consent)
        elif told := sources.told(name).get(release.version):
            sources.check(name, release.version)
            held = before.plugins.get(name)
            pending += waits(name, release.version, told, held, wish, consent, _heir(sources, name, held, told))
            plugins[name] = _locked(release, told, wish, sources)
            pythons[name] = _pythons(told)
    used = {each.index for each in plugins.values()}
    indexes = {name: Source(index.place, index.snapshot()) for name, index in sources.indexes.items() if name in used}
    lock, pylocks = Lock(roots, indexes, plugins, own), dict[str, bytes]()
    if not pending:
        pylocks = made(list(_orders(lock, before, pythons, sources, upgrade)), project)
        lock = _with(lock, pylocks)
    if not any(sources.distrusted(name, each.snapshot) for name, each in before.indexes.items()):
        lock = _steady(lock, before)
    return Locking(lock, before, tuple(pending), pylocks)


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


def _orders(
    lock: Lock, before: Lock, pythons: Mapping[str, SpecifierSet], sources: Sources, anew: Collection[str] | None
) -> Iterator[Order]:
    """The pylocks that a lock needs: one a plugin in a worker, one for all that run in the host's process.

    ``anew``: the plugins whose needs are to be the newest, None: all.
    """
    for name, each in lock.plugins.items():
        if each.isolation == "worker" and not are_lent(each.needs):
            held = before.plugins.get(name)
            former, same = (held.pylock, held.needs == each.needs) if held else ("", False)
            homes = tuple(sources.indexes[home] for home in [each.index] if home)
            again = anew is None or name in anew
            yield Order(name, each.needs, pythons[name], homes, former, same, again, sources.rest)
    needs, members = _inline(lock)
    if not are_lent(needs):
        places = dict.fromkeys(lock.plugins[name].index for name in members if lock.plugins[name].index)
        bounds = SpecifierSet(",".join(str(pythons[name]) for name in members if str(pythons[name])))
        again, same = anew is None or not {*members}.isdisjoint(anew), _inline(before)[0] == needs
        homes = tuple(sources.indexes[home] for home in places)
        yield Order("", needs, bounds, homes, before.inline, same, again, sources.rest)


def _inline(lock: Lock) -> tuple[tuple[str, ...], list[str]]:
    """What the plugins need together that run in the host's process, and their names."""
    members = [name for name, each in lock.plugins.items() if each.isolation == "inline"]
    return tuple(sorted({need for name in members for need in lock.plugins[name].needs})), members


def _with(lock: Lock, pylocks: Mapping[str, bytes]) -> Lock:
    digests = {name: digest_of(content) for name, content in pylocks.items()}
    plugins = {name: replace(each, pylock=digests.get(name, "")) for name, each in lock.plugins.items()}
    return replace(lock, plugins=plugins, inline=digests.get("", ""))


def _locked(release: Release, told: Mapping[str, Json], wish: Wish | None, sources: Sources) -> Locked:
    files = [LockedFile(name, each["sha256"], each["size"]) for name, each in sorted(told["files"].items())]
    return Locked(
        release.version,
        index=sources.home(release.name),
        runtime=told["runtime"],
        isolation=_isolation(told["runtime"], wish),
        manifest=told["manifest_sha256"],
        publisher=told.get("publisher") or {},
        requires=release.requires,
        grants=_given(granted(told.get("permissions", {})), wish),
        files=tuple(files),
        needs=needs_of_others(sources.needs(release.name, release.version)) if told["runtime"] == "python" else (),
    )


def _pythons(told: Mapping[str, Json]) -> SpecifierSet:
    """The versions of Python that all wheels of a release can have."""
    return SpecifierSet(",".join(sorted({each.get("requires_python") or "" for each in told["files"].values()} - {""})))


def _added(manifest: Manifest, wish: Wish) -> Locked:
    from dataflare_worker.needs import needs_of

    python = manifest.runtime == "python"
    name = f"{manifest.package}-{manifest.version}-py3-none-any.whl"
    return Locked(
        manifest.version,
        runtime=manifest.runtime,
        isolation=_isolation(manifest.runtime, wish),
        requires=manifest.dependencies,
        grants=dict(wish.grants),
        files=(LockedFile(name, wish.digest.removeprefix("sha256:")),),
        needs=needs_of_others(needs_of(Path(manifest.file).parent).requirements) if python else (),
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
