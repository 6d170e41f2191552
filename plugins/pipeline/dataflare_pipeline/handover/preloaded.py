"""Keyed state that a new runner process reads before it takes a flow over, so that nothing stands still for it.

It is read from the store while the flow goes on. The other process notes what its epochs change from before the first
key is read; once it is at rest these changes are made here too, in their order, and the state is exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dataflare.checkpoint import Checkpoint, StateChange
from dataflare.drive import ProcessorDriver, driver_for
from dataflare.state import declared_states
from dataflare_pipeline import migrate
from dataflare_pipeline.carried import Carried
from dataflare_pipeline.epoch import version_of
from dataflare_pipeline.keyed import KEY_SCHEMA, TIMERS, KeyedState, group_of, lane_of
from dataflare_pipeline.shadow import context
from dataflare_pipeline.work import ipc

if TYPE_CHECKING:
    from dataflare_pipeline.session import Session

COLUMNS = ("step", "name", "key", "value", "expires")


class Preloaded:
    """The keyed state of a flow, by step and lane, in the form of the components that will go on with it."""

    def __init__(self, session: Session, held: Mapping[str, Checkpoint]) -> None:
        self._session = session
        self._states: dict[tuple[str, int], KeyedState] = {}
        self._drivers: dict[str, tuple[ProcessorDriver, int, int]] = {}
        """Of steps whose state is of an older version: what migrates it, from which version to which."""
        for name, region in session.part.layout.regions.items():
            for step in region.steps:
                if session.plan.steps[step].by_key:
                    self._load(name, step, held.get(name))

    def first(self, step: str) -> KeyedState:
        """The state of a step's first lane."""
        return self._states[(step, 0)]

    def carried(self, region: str, incarnation: str, epoch: int) -> Carried:
        """The state of a region as it is at an epoch, all that was changed until then given to ``follow``."""
        steps = self._session.part.layout.regions[region].steps
        states = {key: state for key, state in self._states.items() if key[0] in steps}
        return Carried(incarnation, epoch, states, frozenset(self._drivers))

    def follow(self, changes: Sequence[StateChange]) -> None:
        """Make changes that were committed since the state began to be read."""
        latest: dict[tuple[str, str], dict[bytes, StateChange]] = {}
        for change in changes:
            if (change.step, 0) in self._states:
                latest.setdefault((change.step, change.name), {})[change.key] = change
        for (step, name), by_key in latest.items():
            self._change(step, name, by_key)

    def _load(self, region: str, step: str, held: Checkpoint | None) -> None:
        plan, store = self._session.plan, self._session.store
        planned, lanes = plan.steps[step], self._lanes(step)
        component = self._session.component(step)
        for lane in range(lanes):
            self._states[(step, lane)] = KeyedState(step, lambda: datetime.now(UTC))
        if held is None:
            return
        before, now = held.state_versions.get(step), version_of(plan, step)
        if before is not None and before < now:
            driver = driver_for(component, context(self._session, planned))
            assert isinstance(driver, ProcessorDriver)
            self._drivers[step] = driver, before, now
        declared = {*declared_states(type(component)), TIMERS, KEY_SCHEMA}
        for owner, name in store.states(plan.name, region):
            if owner == step and name.partition("/")[0] in declared:
                rows = list(self._in_form(step, name, store.state(plan.name, region, step, name)))
                for lane in range(lanes):
                    mine = [row for row in rows if _is_of(row[0], lane, lanes)]
                    self._states[(step, lane)].load(name, mine)
                    self._keep(step, name, lane, mine)

    def _change(self, step: str, name: str, changes: Mapping[bytes, StateChange]) -> None:
        rows = ((key, each.value, each.expires) for key, each in changes.items() if each.value is not None)
        moved = {row[0]: row for row in self._in_form(step, name, rows)}
        lanes = self._lanes(step)
        for lane in range(lanes):
            state, mine = self._states[(step, lane)], [key for key in changes if _is_of(key, lane, lanes)]
            for key in mine:
                value = None if key not in moved else (json.loads(moved[key][1]), moved[key][2])
                state.set(name, key, value)
            self._keep(step, name, lane, (moved[key] for key in mine if key in moved))

    def _keep(self, step: str, name: str, lane: int, rows: Iterable[migrate.Row]) -> None:
        """What is in another form than the store has it in."""
        if step in self._drivers and name not in (TIMERS, KEY_SCHEMA):
            changes = (StateChange(step, name, group_of(key), key, data, expires) for key, data, expires in rows)
            self._states[(step, lane)].keep(name, changes)

    def _in_form(self, step: str, name: str, rows: Iterable[migrate.Row]) -> Iterator[migrate.Row]:
        if step not in self._drivers or name in (TIMERS, KEY_SCHEMA):
            return iter(rows)
        driver, before, now = self._drivers[step]
        return migrate.values(driver, step, name.partition("/")[0], iter(rows), before, now)

    def _lanes(self, step: str) -> int:
        regions = self._session.part.layout.regions.values()
        return next((region.lanes[step] for region in regions if step in region.lanes), 1)


def _is_of(key: bytes, lane: int, lanes: int) -> bool:
    """Is a key one of a lane? What stands under the empty key belongs to the step, so to each of its lanes."""
    return not key or lane_of(group_of(key), lanes) == lane


def packed(changes: Iterable[StateChange]) -> bytes:
    """Changes as they go to another process: an Arrow IPC stream."""
    import pyarrow as pa

    listed = list(changes)
    types = (pa.string(), pa.string(), pa.binary(), pa.binary(), pa.float64())
    columns = [pa.array([getattr(each, word) for each in listed], of) for word, of in zip(COLUMNS, types, strict=True)]
    return ipc(pa.record_batch(columns, COLUMNS))


def unpacked(data: bytes) -> list[StateChange]:
    """The changes that ``packed`` gave."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        columns: list[list[Any]] = [column.to_pylist() for column in stream.read_all().columns]
    return [
        StateChange(step, name, 0, key, value, expires)
        for step, name, key, value, expires in zip(*columns, strict=True)
    ]
