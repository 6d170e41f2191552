"""What layers cost: the same epochs into a plain store and into stores under layers, in turn; ratios within each round.

``python bench/layers.py [ROUNDS]``. A figure stands only if all give back the same keys.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import statistics
import sys
import time
from pathlib import Path

from stores import CHANGED, KEYS, SPLITS, change, checkpoint

from dataflare import Store
from dataflare.checkpoint import Changes
from dataflare.context import Context
from dataflare_host import Host

OUT = Path(__file__).parent / "out" / "layers"
KEY = "BENCH_LAYERS_KEY"
ZSTD = {"uses": "state/zstd"}
RING = {"uses": "state/keyring-env", "with": {"variables": [KEY]}}
AES = {"uses": "state/aes-gcm", "with": {"keyring": RING}}
STACKS = {"plain": [], "zstd": [ZSTD], "aes-gcm": [AES], "zstd, aes-gcm": [ZSTD, AES], "plain again (A/A)": []}


def main(rounds: int) -> None:
    """All tables."""
    os.environ[KEY] = base64.b64encode(os.urandom(32)).decode()
    with Host.start() as host:
        for store in ("sqlite", "file"):
            shutil.rmtree(OUT, ignore_errors=True)
            opened = {}
            for number, (name, layers) in enumerate(STACKS.items()):
                opened[name] = host.store({"uses": f"state/{store}", "layers": layers}, OUT)
                (OUT / str(number)).mkdir(parents=True)
                opened[name].open(Context(base=OUT / str(number)))
            measure(store, opened, rounds)


def measure(store: str, opened: dict[str, Store], rounds: int) -> None:
    """A store under each stack: a first epoch of a million keys, epochs of one per cent, of many splits, a recovery."""
    chance, took = random.Random(1), {name: dict[str, list[float]]() for name in opened}
    tokens = {name: each.lease("bench", "all", "bench", 0) for name, each in opened.items()}

    def commit(what: str, epoch: int, splits: int, numbers: list[int]) -> None:
        for name in chance.sample(list(opened), len(opened)):
            changes = Changes([change(number, epoch) for number in numbers])
            begun = time.perf_counter()
            opened[name].commit(checkpoint(epoch, splits), changes, tokens[name])
            took[name].setdefault(what, []).append(time.perf_counter() - begun)
            opened[name].settle("bench", "all", epoch, tokens[name])
            opened[name].prune("bench", "all", 5)

    commit("first", 0, 3, list(range(KEYS)))
    for epoch in range(1, rounds + 1):
        commit("keys", epoch, 3, chance.sample(range(KEYS), CHANGED))
    for epoch in range(rounds + 1, 2 * rounds + 1):
        commit("splits", epoch, SPLITS, [])
    digests = set()
    for name, each in opened.items():
        begun = time.perf_counter()
        held = sorted(each.state("bench", "all", "step", "seen"))
        took[name]["read"] = [time.perf_counter() - begun]
        digests.add(hashlib.sha256(repr(held).encode()).hexdigest())
        each.close()
    if len(digests) != 1:
        raise SystemExit("void: the stores hold different keys")
    show(store, took)


def show(store: str, took: dict[str, dict[str, list[float]]]) -> None:
    """The table of one store."""
    print(f"## {store}: {CHANGED:,} of {KEYS:,} keys an epoch; {SPLITS:,} splits an epoch\n")
    print("| layers | 1 M keys s | keys ms | worst ms | × plain | total × plain | splits ms | × plain | read s | MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    plain = took["plain"]
    for number, (name, found) in enumerate(took.items()):
        ratios = [
            statistics.median(mine / other for mine, other in zip(found[what], plain[what], strict=True))
            for what in ("keys", "splits")
        ]
        size = sum(path.stat().st_size for path in (OUT / str(number)).rglob("*") if path.is_file()) / 1e6
        print(
            f"| {name} | {found['first'][0]:.2f} | {statistics.median(found['keys']) * 1000:.0f} "
            f"| {max(found['keys']) * 1000:.0f} | {ratios[0]:.2f} | {sum(found['keys']) / sum(plain['keys']):.2f} "
            f"| {statistics.median(found['splits']) * 1000:.1f} | {ratios[1]:.2f} "
            f"| {found['read'][0]:.2f} | {size:.0f} |"
        )
    print()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
