"""Benchmarks of the state stores alone: what an epoch costs, in time and in bytes, and how long a recovery takes.

Every store does the same in turn, in a folder of its own; a figure stands only if all give back the same keys.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dataflare import Store
from dataflare.checkpoint import Changes, Checkpoint, SplitState, StateChange
from dataflare.context import Context

OUT = Path(__file__).parent / "out" / "stores"
NAMES = ("sqlite", "file", "postgres")
KEYS = 1_000_000
CHANGED = 10_000
SPLITS = 1_000
EPOCHS = 20
"""Epochs a round: so many that stores tidy up meanwhile."""


@dataclass
class Place:
    """Where one store keeps things: opens it again and again, and counts what was written there."""

    name: str
    open: Callable[[], Store]
    written: Callable[[], int]
    took: dict[str, list[float]] = field(default_factory=dict)
    bytes: dict[str, list[int]] = field(default_factory=dict)

    def measure(self, what: str, work: Callable[[], object]) -> None:
        """Do it; seconds and bytes count as ``what``."""
        before, begun = self.written(), time.perf_counter()
        work()
        self.took.setdefault(what, []).append(time.perf_counter() - begun)
        self.bytes.setdefault(what, []).append(self.written() - before)


@contextmanager
def places(names: tuple[str, ...]) -> Iterator[list[Place]]:
    """A place for each store, all empty."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    found = []
    for name in names:
        if name != "postgres":
            found.append(Place(name, partial(_opened, name), _written_here))
            continue
        with postgres_server() as dsn:
            import psycopg

            with psycopg.connect(dsn, autocommit=True) as watch:
                found.append(Place(name, partial(_opened, name, dsn=dsn), partial(_wal, watch)))
                yield found
                return
    yield found


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a database: of ``BENCH_POSTGRES``, or on a server of our own that synchronises its writes."""
    if dsn := os.environ.get("BENCH_POSTGRES"):
        yield dsn
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import postgres

    with postgres.server("-c fsync=on -c max_wal_size=2GB") as server:
        yield server.create("bench")


@contextmanager
def state_line(name: str) -> Iterator[str]:
    """The line of a flow that has its state in that store, in a place that is new for each process of a shell."""
    if name == "postgres":
        with postgres_server() as dsn:
            yield f"state: {{uses: state/postgres, with: {{dsn: '{dsn}', schema: bench_$$}}}}"
    else:
        yield f"state: {{uses: state/{name}, with: {{path: state}}}}"


def keys(rounds: int, names: tuple[str, ...] = NAMES) -> None:
    """A million keys, of which 1 % change in each epoch: seconds and bytes of an epoch, and of reading all back."""
    with places(names) as all_places:
        last = {}
        for place in all_places:
            last[place.name] = _keys_of(place, rounds * EPOCHS)
        if len(set(last.values())) != 1:
            raise SystemExit(f"void: the stores hold different keys: {last}")
    print(f"## {KEYS:,} keys, {CHANGED:,} of them changed in each of {rounds * EPOCHS} epochs\n")
    print("| store | first epoch s | keys/s | MB | epoch ms | worst ms | MB | of the first | recovery s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for place in all_places:
        (first,), (whole,) = place.took["first"], place.bytes["first"]
        epochs, each = place.took["epoch"], statistics.mean(place.bytes["epoch"])
        print(
            f"| {place.name} | {first:.2f} | {KEYS / first / 1000:,.0f}k | {whole / 1e6:.1f} "
            f"| {statistics.median(epochs) * 1000:.0f} | {max(epochs) * 1000:.0f} | {each / 1e6:.2f} "
            f"| {each / whole:.1%} | {statistics.median(place.took['recovery']):.2f} |"
        )
    print(f"\nDigest of the keys in every store: {next(iter(last.values()))[:16]}")


def splits(rounds: int, names: tuple[str, ...] = NAMES) -> None:
    """The commit of an epoch with a thousand splits, each moved on, and its settling."""
    with places(names) as all_places:
        for place in all_places:
            store = place.open()
            token = store.lease("bench", "all", "bench", 0)
            for epoch in range(rounds * EPOCHS):
                place.measure("commit", partial(store.commit, checkpoint(epoch, SPLITS), Changes(), token))
                place.measure("settle", partial(store.settle, "bench", "all", epoch, token))
                store.prune("bench", "all", 5)
            store.close()
    print(f"## An epoch with {SPLITS:,} splits\n")
    print("| store | commit ms | worst ms | KB | settle ms |\n|---|---|---|---|---|")
    for place in all_places:
        commits, settles = place.took["commit"], place.took["settle"]
        print(
            f"| {place.name} | {statistics.median(commits) * 1000:.1f} | {max(commits) * 1000:.1f} "
            f"| {statistics.mean(place.bytes['commit']) / 1000:.0f} | {statistics.median(settles) * 1000:.1f} |"
        )


def _keys_of(place: Place, epochs: int) -> str:
    """All that ``keys`` does with one store; the digest of the keys at the end."""
    chance, store = random.Random(1), place.open()
    token = store.lease("bench", "all", "bench", 0)
    first = [change(number, 0) for number in range(KEYS)]
    place.measure("first", lambda: store.commit(checkpoint(0), Changes(first), token))
    first.clear()
    for epoch in range(1, epochs + 1):
        changed = Changes([change(number, epoch) for number in chance.sample(range(KEYS), CHANGED)])
        place.measure("epoch", partial(_epoch, store, epoch, changed, token))
    store.close()
    for _ in range(3):
        held: dict[bytes, bytes] = {}
        place.measure("recovery", partial(_recover, place, held))
    digest = hashlib.sha256()
    for key in sorted(held):
        digest.update(key + held[key])
    return digest.hexdigest()


def _epoch(store: Store, epoch: int, changed: Changes, token: int) -> None:
    store.commit(checkpoint(epoch), changed, token)
    store.settle("bench", "all", epoch, token)
    store.prune("bench", "all", 5)


def _recover(place: Place, held: dict[bytes, bytes]) -> None:
    store = place.open()
    if store.load("bench", "all") is None:
        raise SystemExit("void: there is no checkpoint")
    held.update((key, value) for key, value, _ in store.state("bench", "all", "step", "seen"))
    store.close()


def _opened(name: str, **config: str) -> Store:
    from importlib import import_module

    store: Store = getattr(import_module(f"dataflare_state.{name}"), name.capitalize())(**config)
    store.open(Context(base=OUT / name))
    return store


def checkpoint(epoch: int, splits: int = 3) -> Checkpoint:
    listed = [SplitState(f"part-{number:05d}", "active", {"byte": epoch * 1000 + number}) for number in range(splits)]
    return Checkpoint("bench", "all", "one", epoch, splits={"read": listed})


def change(number: int, epoch: int) -> StateChange:
    """A key as a step by key makes one, the value as wide as a count and a time."""
    return StateChange("step", "seen", number % 256, b'["device-%08d"]' % (number * 7919 % KEYS), b'{"n": %d}' % epoch)


def _written_here() -> int:
    """Bytes that this process has handed to the system to write."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


def _wal(watch: object) -> int:
    return int(watch.execute("select pg_current_wal_lsn() - '0/0'").fetchone()[0])  # type: ignore[attr-defined]
