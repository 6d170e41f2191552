"""Why there is no solution: the smallest set of demands that cannot be met at once, and what does solve it.

The core is found by QuickXplain (Junker, 2004): whole halves of the demands are left out at a time. The chains come
from propagation: what every release that is left of a package demands, all of them demand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflare_packages.releases import API, FEATURE, HOST, PLATFORM, PYTHON, Shelf
from dataflare_packages.solving import Roots, any_solution

Json = Any


@dataclass(frozen=True)
class Link:
    """One step of a chain: ``of`` (the project where it is empty) demands ``name`` in a range."""

    of: str
    versions: str
    name: str
    wanted: str


@dataclass(frozen=True)
class Fix:
    """A change of one demand that was tried and solves all. ``wanted`` None: the demand is left out."""

    name: str
    wanted: str | None
    gives: str = ""


@dataclass(frozen=True)
class Conflict:
    """Why there is no solution. ``package`` is where two chains contradict each other, where such a place was found."""

    core: dict[str, str]
    package: str | None = None
    chains: list[list[Link]] = field(default_factory=list)
    fixes: list[Fix] = field(default_factory=list)

    def as_json(self) -> dict[str, Json]:
        """``{"core", "package", "chains", "fixes"}``."""
        return {
            "core": self.core,
            "package": self.package,
            "chains": [[vars(link) for link in chain] for chain in self.chains],
            "fixes": [vars(fix) for fix in self.fixes],
        }

    def render(self) -> str:
        """The conflict for people."""
        if self.package is None:
            lines = ["these demands cannot be met at once:"]
            lines += [f"  {name} {wanted or '(any version)'}" for name, wanted in self.core.items()]
        else:
            lines = [f"no version of {_shown(self.package)} satisfies both sides:"]
            lines += ["  " + _chain(chain) for chain in self.chains]
        return "\n".join([*lines, *(f"  fix: {_fix(fix)}" for fix in self.fixes)])


def explain(roots: Roots, shelf: Shelf, fixes: int = 5) -> Conflict:
    """The conflict in demands that have no solution. At most ``fixes`` ways out, each of which was tried."""
    core = core_of(roots, shelf)
    package, chains = _witness(core, shelf)
    return Conflict(core, package, chains, list(_fixes(roots, core, shelf))[:fixes])


def core_of(roots: Roots, shelf: Shelf) -> dict[str, str]:
    """A smallest part of the demands that has no solution: without any one of them it has."""
    names = sorted(roots)
    _, chains = _witness(roots, shelf)
    seen = sorted({chain[0].name for chain in chains if not chain[0].of})
    if seen and not _solvable(seen, roots, shelf):
        names = seen  # most conflicts show by propagation alone, and only few demands are left to look through
    found = _quick([], names, roots, shelf, False)
    return {name: roots[name] for name in sorted(found)}


def _quick(kept: list[str], names: Sequence[str], roots: Roots, shelf: Shelf, added: bool) -> list[str]:
    if added and not _solvable(kept, roots, shelf):
        return []
    if len(names) == 1:
        return list(names)
    half = len(names) // 2
    first, second = list(names[:half]), list(names[half:])
    behind = _quick([*kept, *first], second, roots, shelf, bool(first))
    return behind + _quick([*kept, *behind], first, roots, shelf, bool(behind))


def _solvable(names: Sequence[str], roots: Roots, shelf: Shelf) -> bool:
    return any_solution({name: roots[name] for name in names}, shelf) is not None


# --- chains -----------------------------------------------------------------------------------------------


def _witness(core: Roots, shelf: Shelf) -> tuple[str | None, list[list[Link]]]:
    """A package whose demands contradict each other, and the chains that lead to them; None where none is seen."""
    left: dict[str, int] = {}
    seen: dict[str, list[tuple[int, list[Link]]]] = {}
    pending = deque((name, shelf.within(name, wanted), [Link("", "", name, wanted)]) for name, wanted in core.items())
    while pending:
        name, bits, chain = pending.popleft()
        before = left.get(name, -1)
        for other, theirs in seen.get(name, ()):
            if not bits & other:
                return name, [theirs, chain]
        seen.setdefault(name, []).append((bits, chain))
        now = left[name] = before & bits
        if now == before:
            continue
        if not now:
            return name, [found for _, found in seen[name]] if len(seen[name]) > 1 else [chain, _have(name, shelf)]
        shortest = min((found for _, found in seen[name]), key=len)
        pending.extend(_common(name, now, shortest, shelf))
    return None, []


def _common(name: str, bits: int, chain: list[Link], shelf: Shelf) -> Iterator[tuple[str, int, list[Link]]]:
    """What every release of a set demands."""
    releases = [choice.release for choice in shelf.chosen(name, bits)]
    shared = set(releases[0].requires).intersection(*(release.requires for release in releases[1:]))
    versions = "every version" if bits == shelf.within(name, "") else ", ".join(_few([r.version for r in releases]))
    for needed in sorted(shared):
        ranges = sorted({release.requires[needed] for release in releases})
        allowed = 0
        for wanted in ranges:
            allowed |= shelf.within(needed, wanted)
        yield needed, allowed, [*chain, Link(name, versions, needed, " or ".join(ranges))]


def _have(name: str, shelf: Shelf) -> list[Link]:
    """What there is of a package, as the other side of a conflict."""
    versions = [release.version for release in shelf.releases(name)]
    return [Link("this host" if _of_host(name) else "the index", ", ".join(_few(versions)) or "nothing", name, "")]


def _few(versions: list[str]) -> list[str]:
    return versions if len(versions) <= 4 else [*versions[:3], f"… ({len(versions)} versions)"]


def _of_host(name: str) -> bool:
    return name in (API, HOST, PYTHON) or name.startswith((FEATURE, PLATFORM))


# --- ways out ---------------------------------------------------------------------------------------------


def _fixes(roots: Roots, core: Roots, shelf: Shelf) -> Iterator[Fix]:
    for name in core:
        if roots[name]:
            relaxed = any_solution({**roots, name: ""}, shelf)
            if relaxed is not None:
                version = relaxed[name].version
                yield Fix(name, f"=={version}", version)
                continue
        if _solvable([other for other in roots if other != name], roots, shelf):
            yield Fix(name, None)


# --- for people -------------------------------------------------------------------------------------------


def _shown(name: str) -> str:
    known = {API: "the plugin contract", HOST: "the host", PYTHON: "Python"}
    return known.get(name, f"`{name}`")


def _chain(chain: list[Link]) -> str:
    if len(chain) == 1 and not chain[0].wanted and chain[0].of:
        return f"{chain[0].of} has {chain[0].versions}"
    parts = []
    for link in chain:
        who = "your project needs" if not link.of else f"{_shown(link.of)} ({link.versions}) needs"
        parts.append(f"{who} {_shown(link.name)} {link.wanted or '(any version)'}")
    return " → ".join(parts)


def _fix(fix: Fix) -> str:
    if fix.wanted is None:
        return f"do without `{fix.name}`: solves it"
    return f"take `{fix.name}` {fix.wanted}: solves it"
