"""Tries a new version of a component beside the running one; what it gives and writes is thrown away."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dataflare.context import FixedClock
from dataflare.drive import ProcessorDriver, SourceDriver, driver_for
from dataflare.split import Resume
from dataflare_pipeline import migrate
from dataflare_pipeline.patiently import patiently
from dataflare_pipeline.timers import KeyedTimers

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.checkpoint import Checkpoint
    from dataflare.schema import Schema
    from dataflare_host.plan import StepPlan
    from dataflare_pipeline.keyed import KeyedState
    from dataflare_pipeline.session import Session

_WRITES = "writes"


def context(session: Session, step: StepPlan) -> Any:
    """The surroundings of an instance that is only tried out: without a fence."""
    read = frozenset(edge.output for edge in session.plan.outgoing(step.name))
    return session.context(step.name, 0, 0, "", 0, threading.Event(), lambda: None, read)


def try_positions(session: Session, step: StepPlan, held: Checkpoint) -> None:
    """Take the positions of a source over, on a copy. Raises StateError (``state.…``)."""
    driver = driver_for(session.component(step.name), context(session, step))
    assert isinstance(driver, SourceDriver)
    migrate.splits_of(driver, session.plan, held)


def try_processor(
    session: Session,
    step: StepPlan,
    held: Checkpoint | None,
    state: KeyedState | None,
    schemas: Mapping[str, Schema],
    recent: Iterable[tuple[Batch, str]],
    *,
    opening: float | None = None,
    calling: float | None = None,
) -> None:
    """Open a processor over this state and run it on recent batches, each with its input.

    ``held``: the checkpoint that it goes on from; None: there is none yet, so it is opened only. ``opening``,
    ``calling``: seconds that it has for these; None: any. Raises what it raises, StateError ``reload.stuck``.
    """
    ctx = context(session, step)
    if state is not None:
        ctx.state, ctx.timers = state, KeyedTimers(state, step.keyed)
    driver = driver_for(session.component(step.name), ctx)
    assert isinstance(driver, ProcessorDriver)
    try:
        if schemas:
            driver.plan(dict(schemas))
        with patiently(driver.component, step.name, opening):
            if held is None:
                driver.open(Resume(0))
                return
            driver.open(Resume(held.epoch, incarnation=held.incarnation))
            for data in _snapshots(held, step.name)[:1]:
                driver.restore(data, held.state_versions.get(step.name, 1))
        if step.abilities.get("effects") != _WRITES:
            for batch, input in list(recent):
                ctx.clock = FixedClock(batch.envelope.ingested or datetime.now(UTC))
                with patiently(driver.component, step.name, calling):
                    driver.process(batch.as_input(), input)
    finally:
        with suppress(Exception):
            driver.close()


def _snapshots(held: Checkpoint, step: str) -> list[bytes]:
    """The snapshots of a step's lanes."""
    return [base64.b64decode(text) for _, text in sorted(held.snapshots.get(step, {}).items())]
