"""From a flow file to its open store, and to the lease of a region where nothing runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from dataflare.checkpoint import LeaseInfo
from dataflare.context import Context
from dataflare.errors import ConfigError, Fenced, StateError
from dataflare.owner import described, is_dead, this_process
from dataflare.store import Store
from dataflare_state import problems

if TYPE_CHECKING:
    from dataflare_host.app import Host

PATIENCE = 10.0
"""Seconds without a heartbeat until a holder that cannot be seen from here counts as gone."""
LOOK = 0.1
BEAT = 1.0


@dataclass(frozen=True)
class Kept:
    """A flow's name and its open store."""

    flow: str
    uses: str
    store: Store
    told: str
    """The store in a few words: its component, place and layers."""
    base: Path
    """The folder of the flow."""

    def regions(self) -> list[str]:
        """The regions of the flow that the store knows."""
        return [region for flow, region in self.store.flows() if flow == self.flow]


@contextmanager
def kept_of(host: Host, path: Path) -> Iterator[Kept]:
    """The store that a flow file names, or the default one. Nothing but the store is looked at or made.

    Raises ConfigError where the flow keeps its state in its own process.
    """
    flow = host.planner().head(path)
    if flow.problems:
        raise ConfigError(*flow.problems)
    named = {**({} if (flow.state or {}).get("uses") else host.default("state", flow.name) or {}), **(flow.state or {})}
    with _opened(host, path, flow.name, flow.base, named) as kept:
        yield kept


@contextmanager
def kept_at(host: Host, path: Path, state: Mapping[str, Any]) -> Iterator[Kept]:
    """Another store than the flow file names, for the flow."""
    flow = host.planner().head(path)
    with _opened(host, path, flow.name, flow.base, state) as kept:
        yield kept


@contextmanager
def _opened(host: Host, path: Path, name: str, base: Path, named: Mapping[str, Any]) -> Iterator[Kept]:
    if "uses" not in named:
        raise ConfigError.of(
            "plan.no_state", "the flow has no store, and no plugin names one", fix="write `state: state/sqlite`"
        )
    store = host.store(named, base)
    if host.table().find("store", named["uses"], base).load().spec.get("shared") == "process":
        raise ConfigError.of(
            "state.in_process",
            f"`{named['uses']}` keeps the state of `{name}` in the process that runs it",
            file=str(path),
            pointer="/state",
            fix="use a store on disk, such as `state: state/sqlite`, to look at state from outside",
        )
    store.open(ctx=Context(flow=name, base=base, host=host))
    try:
        if not named.get("layers"):
            _expect_plain(store, name)
        yield Kept(name, named["uses"], store, _told(named), base)
    finally:
        store.close()


def _told(state: Mapping[str, Any]) -> str:
    """A store in a few words; no configuration but where it lies, since an address may hold a password."""
    place = (state.get("with") or {}).get("path")
    layers = [layer if isinstance(layer, str) else layer["uses"] for layer in state.get("layers") or ()]
    return " → ".join([*layers, state["uses"]]) + (f" at {place}" if place else "")


def _expect_plain(store: Store, name: str) -> None:
    """Raises StateError ``state.layers`` where the content of a store that is opened without layers has some."""
    for region in (region for flow, region in store.flows() if flow == name):
        try:
            found = store.load(name, region)
        except StateError:
            continue  # damage is told where it is met: a damaged region can still be reset
        if found is not None and found.layers:
            raise problems.other_layers(name, found.layers, [])


@contextmanager
def leased(kept: Kept, region: str, patience: float = PATIENCE, *, above: int = 0) -> Iterator[int]:
    """Hold the lease of a region, with a token above ``above``, and keep its heart beating.

    Raises StateError ``run.already_running`` if somebody alive holds it.
    """
    token = _taken(kept, region, patience)
    while token <= above:
        token = kept.store.lease(kept.flow, region, this_process(), token)
    done = Event()
    heart = Thread(target=_beat, args=(kept, region, token, done), daemon=True)
    heart.start()
    try:
        yield token
    finally:
        done.set()
        heart.join()
        kept.store.release(kept.flow, region, token)


def _beat(kept: Kept, region: str, token: int, done: Event) -> None:
    while not done.wait(BEAT):
        try:
            kept.store.beat(kept.flow, region, token)
        except StateError:
            return  # whatever is written next says why


def _taken(kept: Kept, region: str, patience: float) -> int:
    while True:
        info = kept.store.lease_info(kept.flow, region)
        if info is not None:
            _expect_gone(kept, region, info, patience)
        try:
            return kept.store.lease(kept.flow, region, this_process(), info.token if info else 0)
        except Fenced:
            continue


def _expect_gone(kept: Kept, region: str, info: LeaseInfo, patience: float) -> None:
    until = time.monotonic() + patience
    now: LeaseInfo | None = info
    while now is not None and now.token == info.token and not now.released and not is_dead(now):
        if now.beat != info.beat:
            raise StateError.of(
                "run.already_running",
                f"the flow `{kept.flow}` is running",
                cause=f"its lease is held by {described(info)}",
                fix="stop it first: `dataflare flow stop`",
            )
        if time.monotonic() >= until:
            return
        time.sleep(LOOK)
        now = kept.store.lease_info(kept.flow, region)
