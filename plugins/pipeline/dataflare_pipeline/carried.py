"""Keyed state that an attempt leaves in memory for the next one, which need not read it from the store then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dataflare.checkpoint import Checkpoint
from dataflare_pipeline.exchange import Exchange
from dataflare_pipeline.inner_lane import ProcessorLane
from dataflare_pipeline.keyed import KeyedState
from dataflare_pipeline.lane import Lane

if TYPE_CHECKING:
    from dataflare_pipeline.attempt import Attempt


@dataclass(frozen=True)
class Carried:
    """The state as it was at one epoch, by step and lane."""

    incarnation: str
    epoch: int
    states: dict[tuple[str, int], KeyedState]
    renewed: frozenset[str] = frozenset()
    """The steps of which it is in the form of a newer version than the checkpoint has it in."""

    def state(self, checkpoint: Checkpoint, step: str, lane: int) -> KeyedState | None:
        """The state of a lane, where it is that of the checkpoint."""
        mine = (self.incarnation, self.epoch) == (checkpoint.incarnation, checkpoint.epoch)
        return self.states.get((step, lane)) if mine else None


def carried_on(lanes: Iterable[Lane], checkpoint: Checkpoint, back: bool) -> Carried:
    """What stands in memory as the checkpoint has it. ``back``: go back to where it was noted first."""
    found = {}
    for lane in lanes:
        state = lane.head.state if isinstance(lane, ProcessorLane) else None
        if state is None or (back and not state.noted):
            continue
        if back:
            state.undo()
        if state.clean:
            found[(lane.step, lane.number)] = state
    return Carried(checkpoint.incarnation, checkpoint.epoch, found)


def carried_anew(found: Carried, exchange: Exchange, attempt: Attempt) -> Carried:
    """With the state that was put into a new form for the attempt that begins now."""
    if exchange.in_place or exchange.attempt is not attempt:
        return found
    states = exchange.handed()
    return replace(found, states={**found.states, **states}, renewed=frozenset(step for step, _ in states))


def carried_again(found: Carried, exchange: Exchange, lanes: Iterable[Lane]) -> Carried:
    """With the state in its old form, since the attempt with the new one was taken back."""
    if exchange.in_place:
        return found
    former = exchange.former()
    for lane in lanes:
        if isinstance(lane, ProcessorLane) and (lane.step, lane.number) in former and lane.head.state is not None:
            lane.head.state.undo()  # its timers are in one place for both
    return replace(found, states={**found.states, **former})


def carried_back(exchange: Exchange, checkpoint: Checkpoint) -> Carried | None:
    """The state as it was where the lanes changed over, if that epoch was committed."""
    if exchange.epoch != checkpoint.epoch:
        return None
    return Carried(checkpoint.incarnation, checkpoint.epoch, exchange.states())
