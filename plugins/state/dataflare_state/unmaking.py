"""What the steps of a flow made once is undone before the flow is forgotten."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.context import Context
from dataflare.drive import driver_for
from dataflare.errors import ConfigError, StateError, problem_of
from dataflare.grants import services
from dataflare_state.opening import Kept

if TYPE_CHECKING:
    from dataflare_host.app import Host

Json = Any


def unmake(host: Host, path: Path, kept: Kept) -> list[str]:
    """Call ``on_deleted`` of every step that made something; the names of those that had one.

    Raises StateError ``state.made_stays`` where that fails: nothing is forgotten then.
    """
    loaded = [kept.store.load(kept.flow, region) for region in kept.regions()]
    made = {step: what for found in loaded if found is not None for step, what in found.made.items()}
    if not made:
        return []
    try:
        plan = host.plan(path)
    except ConfigError as error:
        raise _stays(kept.flow, ", ".join(made), error) from error
    undone = []
    for step, what in made.items():
        if step not in plan.steps:
            continue
        context = Context(
            id=f"{kept.flow}-{step}-0",
            flow=kept.flow,
            step=step,
            base=Path(plan.base),
            cancel=threading.Event(),
            **services(step, plan.steps[step].grants, host, flow=kept.flow, base=Path(plan.base)),
        )
        try:
            driver = driver_for(host.step(plan, step), context)
            if not driver.has("on_deleted"):
                continue
            try:
                driver.on_deleted(what)
            finally:
                driver.close()
        except Exception as error:
            raise _stays(kept.flow, step, error) from error
        undone.append(step)
    return undone


def _stays(flow: str, steps: str, error: Exception) -> StateError:
    return StateError.of(
        "state.made_stays",
        f"what {steps} made for `{flow}` could not be undone, so nothing is forgotten",
        cause=problem_of(error).message,
        fix="mend that and try again, or leave it where it is with --keep-made",
    )
