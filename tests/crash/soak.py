"""Kills runs at random for as long as one likes: ``python tests/crash/soak.py --kills 1000 --minutes 30 --seed 7``.

Each flow is killed a few times at places drawn by the seed, then runs to its end and is judged. What does not hold is
printed with the seed's draw, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from crash_flows import ABILITIES, SHAPES, TARGETS, content, flow, making  # noqa: E402

from dataflare.testing import Crashes  # noqa: E402

STORES = ("file", "sqlite", "postgres", "layers")


def soak(kills: int, minutes: float, seed: int) -> tuple[int, int, list[str]]:
    """So many kills, or as many as the time allows: flows, kills, and what did not hold."""
    drawn, until = random.Random(seed), time.monotonic() + minutes * 60
    flows, done, wrong = 0, 0, list[str]()
    while done < kills and time.monotonic() < until:
        shape, store = drawn.choice(sorted(SHAPES)), drawn.choice(STORES)
        sinks = drawn.sample((*ABILITIES, *TARGETS), 3)
        crashes = Crashes(making(flow(shape, store, sinks)), content, seed=seed)
        total = crashes.passes.total()
        while done < kills and time.monotonic() < until and drawn.random() < 0.8:
            places = [f"*:{drawn.randint(1, total)}" for _ in range(min(kills - done, drawn.randint(1, 4)))]
            flows, done = flows + 1, done + len(places)
            verdicts = crashes.killed(*places)
            wrong += [f"{shape} {store} {sinks}: {each}" for each in verdicts if not each.held]
    return flows, done, wrong


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(words)
    flows, kills, wrong = soak(given.kills, given.minutes, given.seed)
    print("\n".join([*wrong, f"{kills} kills over {flows} runs of flows, {len(wrong)} did not hold"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
