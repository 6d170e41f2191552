"""Positions and state of older versions in today's form; the old stays until an epoch holds the new."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dataflare.checkpoint import SplitState
from dataflare.drive import ProcessorDriver, SourceDriver
from dataflare.errors import StateError

Row = tuple[bytes, bytes, float | None]


def positions(driver: SourceDriver, step: str, states: list[SplitState], held: int, now: int) -> list[SplitState]:
    """The splits with positions of version ``now``. Raises StateError ``state.position_version``."""
    if held >= now:
        return states
    return [
        replace(
            state,
            position=_migrated(driver, step, held, now, state.position),
            start=_migrated(driver, step, held, now, state.start),
        )
        for state in states
    ]


def _migrated(driver: SourceDriver, step: str, held: int, now: int, position: Any) -> Any:
    if position is None:
        return None
    try:
        return driver.migrate_position(held, position)
    except NotImplementedError as error:
        raise StateError.of(
            "state.position_version",
            f"the positions of `{step}` have version {held}, its component reads version {now}",
            fix="give the component `migrate_position`, or use the plugin's older version",
        ) from error


def values(driver: ProcessorDriver, step: str, name: str, rows: Iterator[Row], held: int, now: int) -> Iterator[Row]:
    """Keyed state in version ``now``. Raises StateError ``state.version``."""
    for key, value, expires in rows:
        try:
            moved = driver.migrate_state(held, name, json.loads(value))
        except NotImplementedError as error:
            raise StateError.of(
                "state.version",
                f"the state `{name}` of `{step}` has version {held}, its component reads version {now}",
                fix="give the component `migrate_state`, or use the plugin's older version",
            ) from error
        yield key, json.dumps(moved, separators=(",", ":")).encode(), expires
