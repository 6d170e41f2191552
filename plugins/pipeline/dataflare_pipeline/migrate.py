"""Positions and state of older versions in today's form: made on a copy, kept by an epoch of its own or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

from dataflare.checkpoint import Checkpoint, SplitState
from dataflare.drive import ProcessorDriver, SourceDriver
from dataflare.errors import StateError
from dataflare_host.plan import Plan
from dataflare_pipeline.epoch import version_of
from dataflare_pipeline.keyed import json_of

Row = tuple[bytes, bytes, float | None]
AT_ONCE = 1_000
AT_ONCE_BYTES = 1 << 20
"""Values, and their bytes, that a component takes over by one call."""


def older(checkpoint: Checkpoint, plan: Plan) -> list[str]:
    """The steps whose positions or state are of an older version than their component."""
    held = {**checkpoint.position_versions, **checkpoint.state_versions}
    return [step for step, version in held.items() if step in plan.steps and version < version_of(plan, step)]


def positions(driver: SourceDriver, step: str, states: list[SplitState], held: int, now: int) -> list[SplitState]:
    """The splits with positions of version ``now``, finished ones too.

    Raises StateError ``state.position_version``, ``state.migration``.
    """
    if held >= now:
        return states

    what = f"the positions of `{step}`"
    olds = [place for state in states for place in (state.position, state.start) if place is not None]
    made = []
    for first in range(0, len(olds), AT_ONCE):
        part = deepcopy(olds[first : first + AT_ONCE])
        made += _taken(partial(driver.migrate_positions, held, part), what, "position", held, now)
    new = iter(made)

    def moved(place: Any) -> Any:
        return None if place is None else next(new)

    return [replace(state, position=moved(state.position), start=moved(state.start)) for state in states]


def splits_of(driver: SourceDriver, plan: Plan, checkpoint: Checkpoint) -> list[SplitState]:
    """The splits of a source as a checkpoint has them, with positions as its component reads them now."""
    step, now = driver.ctx.step, version_of(plan, driver.ctx.step)
    held = checkpoint.position_versions.get(step, now)
    return positions(driver, step, checkpoint.splits.get(step, []), held, now)


def values(driver: ProcessorDriver, step: str, name: str, rows: Iterator[Row], held: int, now: int) -> Iterator[Row]:
    """Keyed state in version ``now``. Raises StateError ``state.version``, ``state.migration``."""
    what = f"the state `{name}` of `{step}`"
    for part in _parts(rows):
        olds = json.loads(b"[" + b",".join(value for _, value, _ in part) + b"]")
        moved = _taken(partial(driver.migrate_states, held, name, olds), what, "state", held, now)
        for (key, _, expires), value in zip(part, moved, strict=True):
            yield key, json_of(value), expires


def _parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """As many rows as are taken over by one call."""
    part, size = [], 0
    for row in rows:
        part.append(row)
        size += len(row[1])
        if len(part) >= AT_ONCE or size >= AT_ONCE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _taken(migrate: Callable[[], Any], what: str, word: str, held: int, now: int) -> Any:
    try:
        return migrate()
    except NotImplementedError as error:
        raise StateError.of(
            "state.position_version" if word == "position" else "state.version",
            f"{what}: they have version {held}, the component reads version {now}",
            fix=f"give the component `migrate_{word}`, or use the plugin's older version",
        ) from error
    except Exception as error:
        raise StateError.of(
            "state.migration",
            f"{what} could not be taken over from version {held} to {now}",
            cause=f"`migrate_{word}` raised {type(error).__name__}: {error}",
            fix="nothing was changed: mend the component, or use the plugin's older version",
        ) from error
