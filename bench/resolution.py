"""How long it takes to find versions that go together, and to find that there are none and explain why.

``python bench/resolution.py``: made-up indexes, each release with up to four demands on the forty plugins before it, a
share of them with an upper bound; ten of each size, medians and worst.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

from dataflare_packages.explaining import explain
from dataflare_packages.releases import Here, Release, Shelf
from dataflare_packages.solving import solve

HERE = Here("1.0", "1.0.0", "3.11.7")


def made(plugins: int, versions: int, tight: float, seed: int) -> dict[str, list[Release]]:
    """An index in which the newest release of everything goes together with what was newest then."""
    chance = random.Random(seed)
    index: dict[str, list[Release]] = {}
    for number in range(plugins):
        name = f"plugin-{number:04}"
        index[name] = []
        for version in range(versions):
            requires = {}
            for _ in range(chance.randrange(5) if number else 0):
                other = chance.randrange(max(0, number - 40), number)
                low = chance.randrange(version + 1)
                upper = f",<{chance.randrange(version, versions) + 1}.0" if chance.random() < tight else ""
                requires[f"plugin-{other:04}"] = f">={low}.0{upper}"
            index[name].append(Release(name, f"{version}.{chance.randrange(3)}", requires))
    return index


def shelf_of(index: dict[str, list[Release]]) -> Shelf:
    """A shelf on which nothing was looked at before."""
    return Shelf(lambda name: index.get(name, ()), HERE)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def row(plugins: int, versions: int, roots: int, tight: float) -> str:
    """One size: solved how often, median and worst seconds; then the same with a conflict put in."""
    solved, explained, right = [], [], 0
    for seed in range(10):
        index = made(plugins, versions, tight, seed)
        names = (
            sorted(index)[-max(roots, 2) :] if roots >= plugins else random.Random(seed).sample(sorted(index), roots)
        )
        wanted = dict.fromkeys(names, "")
        seconds, found = timed(lambda: solve(wanted, shelf_of(index)))  # noqa: B023
        solved.append((seconds, found is not None))
        index["left"] = [Release("left", "1.0", {"contested": "<2"})]
        index["right"] = [Release("right", "1.0", {"contested": ">=2"})]
        index["contested"] = [Release("contested", "1.0"), Release("contested", "2.0")]
        if found is None:
            continue
        shelf = shelf_of(index)
        refuted, _ = timed(lambda: solve({**wanted, "left": "", "right": ""}, shelf))  # noqa: B023
        seconds, conflict = timed(lambda: explain({**wanted, "left": "", "right": ""}, shelf))  # noqa: B023
        explained.append(refuted + seconds)
        right += set(conflict.core) == {"left", "right"}  # type: ignore[attr-defined]
    times = [seconds for seconds, _ in solved]
    return (
        f"| {plugins} x {versions} | {roots} | {tight} | {sum(found for _, found in solved)}/10 "
        f"| {statistics.median(times):.3f} | {max(times):.3f} "
        f"| {statistics.median(explained):.3f} | {max(explained):.3f} | {right}/{len(explained)} |"
    )


def main() -> None:
    """Print the table."""
    print("| plugins | roots | tight | solved | median s | worst s | explained, median s | worst s | core exact |")
    print("|---|---|---|---|---|---|---|---|---|")
    for size in ((200, 20, 20, 0.1), (200, 20, 60, 0.3), (200, 20, 200, 0.1), (1000, 20, 60, 0.2)):
        print(row(*size), flush=True)


if __name__ == "__main__":
    main()
