"""All that a store keeps of one region: read, written into another store, copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import xxhash

from dataflare.checkpoint import Changes, Checkpoint, Letter, StateChange
from dataflare.store import Store
from dataflare_host.layout import KEY_GROUPS


@dataclass
class Whole:
    """The last epoch of a region, its live keys, its letters; ``token``: the newest fencing token that sinks know."""

    checkpoint: Checkpoint
    token: int
    state: list[StateChange] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    def put(self, store: Store, fence: int, forgotten: Iterable[int] = ()) -> None:
        """Commit it into a store that holds nothing of the region but the letters ``forgotten``, which go."""
        store.commit(self.checkpoint, Changes(self.state, self.letters, forgotten=list(forgotten)), fence)


def whole_of(store: Store, flow: str, region: str) -> Whole | None:
    """What is kept of a region; None if that is no epoch. Raises StateError where it is damaged."""
    checkpoint, info = store.load(flow, region), store.lease_info(flow, region)
    if checkpoint is None:
        return None
    state = [
        changed(step, name, *row)
        for step, name in store.states(flow, region)
        for row in store.state(flow, region, step, name)
    ]
    letters = [letter for letter in store.letters(flow, status=None) if letter.region == region]
    return Whole(checkpoint, info.token if info else 0, state, letters)


def changed(step: str, name: str, key: bytes, value: bytes, expires: float | None) -> StateChange:
    """A key that a store gave, as a change for another one."""
    return StateChange(step, name, xxhash.xxh64_intdigest(key) % KEY_GROUPS, key, value, expires)
