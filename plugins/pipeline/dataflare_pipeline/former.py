"""Regions that the store holds of this flow and the plan no longer has: never passed over, never forgotten unasked.

A region is named by its first step; where that is renamed or removed, its positions are still in the store, and a
flow that began anew without a word would read everything twice.
"""

from __future__ import annotations

from dataflare.errors import StateError
from dataflare_pipeline.lease import Lease
from dataflare_pipeline.session import Session


def former_regions(session: Session) -> list[str]:
    """The names of regions with a checkpoint in the store that are in no layout of the plan."""
    flow, known, store = session.plan.name, session.part.layout.regions, session.store
    return [name for owner, name in store.flows() if owner == flow and name not in known and store.load(flow, name)]


def refuse_former(session: Session) -> None:
    """Raises StateError ``state.mismatch`` if there are any."""
    for name in former_regions(session):
        raise StateError.of(
            "state.mismatch",
            f"the state holds what follows the step `{name}`, which the flow no longer has there",
            cause=f"`{name}` was renamed, removed or put behind another step since the last run",
            fix="give the step its old name and place back, name the flow anew, or begin again with `--from-start`",
        )


def forget_former(session: Session) -> None:
    """Forget them; a new start was asked for."""
    for name in former_regions(session):
        lease = Lease(session.store, session.plan.name, name, lambda: None, session.pace)
        lease.acquire(session.stopping)
        try:
            session.store.reset(session.plan.name, name, lease.token)
        finally:
            lease.release()
