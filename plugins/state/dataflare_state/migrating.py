"""``dataflare state migrate``: what is kept of a flow in today's form, without running it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dataflare import command
from dataflare.errors import StateError
from dataflare_state.opening import Kept, kept_of, leased

Json = Any


@command(group="state", name="state.migrate")
def migrate(host: Any, flow: Path) -> Json:
    """Take over state of older component versions, and write everything anew under the newest key. Reads no rows."""
    from dataflare_host.run import run_plan

    with kept_of(host, flow) as kept:
        before = _versions(kept)
    if not before:
        return {"flow": kept.flow, "migrated": {}, "rewritten": []}
    plan = host.plan(flow)
    outcome = run_plan(replace(plan, options={**plan.options, "migrate": True}), host)
    if outcome.status == "failed":
        raise StateError(*outcome.problems)
    with kept_of(host, flow) as kept:
        after = _versions(kept)
        migrated = {step: [before[step], now] for step, now in after.items() if before.get(step, now) != now}
        rewritten = host.change("state.migrate", kept.flow, lambda: _rewrite(kept))
        return {"flow": kept.flow, "migrated": migrated, "rewritten": rewritten}


def _versions(kept: Kept) -> dict[str, int]:
    """The version of each step's positions or state."""
    loaded = [kept.store.load(kept.flow, region) for region in kept.regions()]
    found = [checkpoint for checkpoint in loaded if checkpoint is not None]
    return {step: v for each in found for step, v in {**each.position_versions, **each.state_versions}.items()}


def _rewrite(kept: Kept) -> list[str]:
    """Write each region anew where the store has more than one form; those that were."""
    done = []
    for region in kept.regions():
        with leased(kept, region) as token:
            if kept.store.rewrite(kept.flow, region, token):
                done.append(region)
    return done
