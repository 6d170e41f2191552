"""From a flow file to its open store, and to the lease of a region where nothing runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.context import Context
from dataflare.errors import ConfigError, Fenced, StateError
from dataflare_host.checkpoint import LeaseInfo
from dataflare_host.kinds import Store
from dataflare_host.owner import described, is_dead, this_process
from dataflare_state import problems

if TYPE_CHECKING:
    from dataflare_host.app import Host

PATIENCE = 10.0
"""Seconds without a heartbeat until a holder that cannot be seen from here counts as gone."""
LOOK = 0.1


@dataclass(frozen=True)
class Kept:
    """A flow's name and its open store."""

    flow: str
    uses: str
    store: Store

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
    if "uses" not in named:
        raise ConfigError.of(
            "plan.no_state", "the flow has no store, and no plugin names one", fix="write `state: state/sqlite`"
        )
    store = host.store(named, flow.base)
    if host.table().find("store", named["uses"], flow.base).load().spec.get("shared") == "process":
        raise ConfigError.of(
            "state.in_process",
            f"`{named['uses']}` keeps the state of `{flow.name}` in the process that runs it",
            file=str(path),
            pointer="/state",
            fix="use a store on disk, such as `state: state/sqlite`, to look at state from outside",
        )
    store.open(ctx=Context(flow=flow.name, base=flow.base, host=host))
    try:
        if not named.get("layers"):
            _expect_plain(store, flow.name)
        yield Kept(flow.name, named["uses"], store)
    finally:
        store.close()


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
def leased(kept: Kept, region: str, patience: float = PATIENCE) -> Iterator[int]:
    """Hold the lease of a region. Raises StateError ``run.already_running`` if somebody alive holds it."""
    while True:
        info = kept.store.lease_info(kept.flow, region)
        if info is not None:
            _expect_gone(kept, region, info, patience)
        try:
            token = kept.store.lease(kept.flow, region, this_process(), info.token if info else 0)
            break
        except Fenced:
            continue
    try:
        yield token
    finally:
        kept.store.release(kept.flow, region, token)


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
