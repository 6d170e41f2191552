"""Finds a set of releases in which every demand is met (``resolvelib``), always for the whole set at once."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from resolvelib import AbstractProvider, BaseReporter
from resolvelib.resolvers import Resolution, ResolutionImpossible, ResolutionTooDeep

from dataflare_packages.releases import Choice, Release, Shelf

ROUNDS = 20_000
"""Steps after which a search is given up."""
AGAIN = 500
"""Steps of the search that looks again."""
GLANCE = 100
"""Steps that show that there is no solution, where that is easy to see."""
QUICK = 3_000
"""Steps of the search for any solution."""
Roots = Mapping[str, str]
"""What is wanted: package → range."""


class Demand(NamedTuple):
    """A package in a range; ``bits``: the releases within it."""

    name: str
    wanted: str
    bits: int


class TooDeep(Exception):
    """The search was given up. ``names``: the packages that it went back on most often."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def solve(roots: Roots, shelf: Shelf) -> dict[str, Release] | None:
    """Package → release for everything that is needed; None where there is no solution. Raises TooDeep."""
    counting = _Counting()
    # `Resolver.resolve` goes the ways back to the roots by recursion, which cycles of packages that were left send
    # round for ever; so its last step is done here.
    search: Any = Resolution(_Provider(shelf), counting)
    demands = _demands(roots, shelf)
    with suppress(TooDeep):
        if _searched(demands, shelf, GLANCE) is None:
            return None  # most of what has no solution shows it at once, and would be gone back on for long
    try:
        pinned = search.resolve(demands, max_rounds=ROUNDS).mapping
    except ResolutionImpossible:
        # It goes back too far now and then, past a solution (resolvelib#134): a short search of our own looks again.
        with suppress(TooDeep):
            return _searched(demands, shelf, AGAIN)
        return None
    except ResolutionTooDeep:
        raise TooDeep([name for name, _ in counting.rejected.most_common(5)]) from None
    found = _needed(roots, pinned)
    # Where packages demand each other, a pin that was taken back may leave its demands out of the answer.
    return found if _holds(found, demands, shelf) else _searched(demands, shelf, ROUNDS)


def any_solution(roots: Roots, shelf: Shelf) -> dict[str, Release] | None:
    """As ``solve``, where it does not matter which: many times faster where there is little to go back on.

    It keeps the releases that are left of every package at each step, so that most dead ends show at once.
    """
    try:
        return _searched(_demands(roots, shelf), shelf, QUICK)
    except TooDeep:
        return solve(roots, shelf)


def _demands(roots: Roots, shelf: Shelf) -> list[Demand]:
    return [Demand(name, wanted, shelf.within(name, wanted)) for name, wanted in roots.items()]


def _needed(roots: Roots, pinned: Mapping[str, Choice]) -> dict[str, Release]:
    """The releases that are reached from the roots."""
    needed, pending = set(roots), list(roots)
    while pending:
        more = set(pinned[pending.pop()].release.requires) & pinned.keys() - needed
        needed |= more
        pending.extend(more)
    return {name: pinned[name].release for name in sorted(needed)}


def _holds(found: Mapping[str, Release], demands: Sequence[Demand], shelf: Shelf) -> bool:
    """Is every demand met, those of the releases too?"""
    every = [(demand.name, demand.wanted) for demand in demands]
    every += [demand for release in found.values() for demand in release.requires.items()]
    return all(
        name in found
        and any(found[name] is choice.release for choice in shelf.chosen(name, shelf.within(name, wanted)))
        for name, wanted in every
    )


def _searched(demands: Sequence[Demand], shelf: Shelf, rounds: int) -> dict[str, Release] | None:
    """The same by plain search, depth first: sound whatever demands what, and slow where much is to be gone back on.

    None where there is no solution. Raises TooDeep after so many ``rounds``.
    """
    if not demands:
        return {}
    left: dict[str, int] = {}
    for demand in demands:
        left[demand.name] = left.get(demand.name, -1) & demand.bits
    if not all(left.values()):
        return None
    steps = [_choices(left, {}, shelf)]
    for _ in range(rounds):
        step = next(steps[-1], None)
        if step is None:
            steps.pop()
            if not steps:
                return None
            continue
        bits, pinned = step
        if len(pinned) == len(bits):
            return {name: pinned[name].release for name in sorted(pinned)}
        steps.append(_choices(bits, pinned, shelf))
    raise TooDeep([demand.name for demand in demands][:5])


def _choices(
    left: dict[str, int], pinned: dict[str, Choice], shelf: Shelf
) -> Iterator[tuple[dict[str, int], dict[str, Choice]]]:
    """What one more pin leaves to choose from, by preference."""
    name = min((name for name in left if name not in pinned), key=lambda name: left[name].bit_count())
    for choice in shelf.chosen(name, left[name]):
        bits = {**left, name: choice.bit}
        for other, wanted in choice.release.requires.items():
            bits[other] = bits.get(other, -1) & shelf.within(other, wanted)
        if all(bits.values()):
            yield bits, {**pinned, name: choice}


class _Counting(BaseReporter):  # type: ignore[type-arg]
    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()

    def rejecting_candidate(self, criterion: Any, candidate: Choice) -> None:
        self.rejected[candidate.name] += 1


class _Provider(AbstractProvider):  # type: ignore[type-arg]
    """What resolvelib asks. Fewest candidates first; ranges are sets of bits, so that a check is one ``and``."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._dependencies: dict[tuple[str, int], list[Demand]] = {}

    def identify(self, requirement_or_candidate: Demand | Choice) -> str:
        return requirement_or_candidate.name

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Choice],
        candidates: Mapping[str, Iterator[Choice]],
        information: Mapping[str, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> tuple[int, str]:
        return operator.length_hint(candidates[identifier]), identifier

    def narrow_requirement_selection(
        self,
        identifiers: Iterable[str],
        resolutions: Mapping[str, Choice],
        candidates: Mapping[str, Iterator[Choice]],
        information: Mapping[str, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> Iterable[str]:
        if not backtrack_causes:
            return identifiers
        listed = list(identifiers)
        causes = {cause.requirement.name for cause in backtrack_causes}
        causes |= {cause.parent.name for cause in backtrack_causes if cause.parent is not None}
        return [name for name in listed if name in causes] or listed

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Demand]],
        incompatibilities: Mapping[str, Iterator[Choice]],
    ) -> list[Choice]:
        bits = -1
        for demand in requirements[identifier]:
            bits &= demand.bits
        for choice in incompatibilities[identifier]:
            bits &= ~choice.bit
        return self._shelf.chosen(identifier, bits)

    def is_satisfied_by(self, requirement: Demand, candidate: Choice) -> bool:
        return bool(requirement.bits & candidate.bit)

    def get_dependencies(self, candidate: Choice) -> list[Demand]:
        key = candidate.name, candidate.bit
        found = self._dependencies.get(key)
        if found is None:
            within = self._shelf.within
            wanted = candidate.release.requires
            found = self._dependencies[key] = [Demand(name, text, within(name, text)) for name, text in wanted.items()]
        return found
