"""``dataflare state verify``: read all that a store keeps of a flow, and say what is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dataflare import command
from dataflare.errors import DataflareError
from dataflare_state.opening import Kept, kept_of

Json = Any
T = TypeVar("T")


@command(group="state", name="state.verify")
def verify(host: Any, flow: Path) -> Json:
    """Read and check everything that is kept of a flow: epochs, keyed state, dead letters. Exit 1 if any is damaged."""
    with kept_of(host, flow) as kept:
        reading = _Reading(kept)
        regions = {region: reading.region(region) for region in reading.noted("regions", kept.regions) or ()}
        letters = reading.letters()
        found = {"flow": kept.flow, "store": kept.told, "regions": regions, "letters": letters}
        return {"ok": not reading.damages, **found, "damages": reading.damages}


class _Reading:
    """Reads everything and collects what is wrong with it."""

    def __init__(self, kept: Kept) -> None:
        self.damages: list[Json] = []
        self._store, self._flow = kept.store, kept.flow

    def noted(self, place: str, read: Callable[[], T]) -> T | None:
        """What ``read`` gives; None where it fails, and the damage is noted with its place."""
        try:
            return read()
        except DataflareError as error:
            self.damages += [{"place": place, **problem.as_json()} for problem in error.problems]
            return None

    def region(self, region: str) -> Json:
        """The epochs of a region that are whole, and the number of keys of each state."""
        store, flow = self._store, self._flow
        self.noted(f"{region}: lease", lambda: store.lease_info(flow, region))
        told: dict[str, Any] = {"epochs": [], "keys": {}}
        history = self.noted(f"{region}: history", lambda: store.history(flow, region)) or []
        for info in history:
            place = f"{region}: epoch {info.epoch}"
            if self.noted(place, lambda epoch=info.epoch: store.load(flow, region, epoch)) is not None:  # type: ignore[misc]
                told["epochs"].append(info.epoch)
        if not history:
            self.noted(f"{region}: last epoch", lambda: store.load(flow, region))
        if history and history[0].epoch not in told["epochs"]:
            return told
        for step, name in self.noted(f"{region}: states", lambda: store.states(flow, region)) or ():
            keys = self.noted(f"{region}: state `{name}` of `{step}`", lambda of=(step, name): self._keys(region, *of))  # type: ignore[misc]
            if keys is not None:
                told["keys"][f"{step}.{name}"] = keys
        return told

    def letters(self) -> int:
        """How many dead letters are whole."""
        count, after = 0, 0
        while True:
            try:
                for letter in self._store.letters(self._flow, status=None, after=after):
                    count, after = count + 1, letter.id
                return count
            except DataflareError as error:
                self.damages += [{"place": "letters", **problem.as_json()} for problem in error.problems]
                damaged = error.problems[0].details.get("letter", 0)
                if damaged <= after:
                    return count
                after = damaged

    def _keys(self, region: str, step: str, name: str) -> int:
        return sum(1 for _ in self._store.state(self._flow, region, step, name))
