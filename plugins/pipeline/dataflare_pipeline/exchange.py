"""New operators beside running ones: opened while the flow goes on, put in their place where a barrier passes.

Each lane changes over by itself between the last batch before the barrier and the first behind it; nothing is held, and
nothing is read from the store. Processors that run as guests only: a source or a sink has never two open instances.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dataflare.errors import DataflareError
from dataflare.schema import Schema
from dataflare.split import Resume
from dataflare.state import declared_states
from dataflare_pipeline.chains import cut
from dataflare_pipeline.epoch import version_of
from dataflare_pipeline.handing import Handing
from dataflare_pipeline.inner_lane import ProcessorLane
from dataflare_pipeline.keyed import KeyedState
from dataflare_pipeline.operator import ProcessorOp, allowed
from dataflare_pipeline.patiently import patiently
from dataflare_pipeline.policy import blamed
from dataflare_pipeline.uncollected import hold, let_go

if TYPE_CHECKING:
    from dataflare_pipeline.attempt import Attempt
    from dataflare_pipeline.lane import Lane
    from dataflare_pipeline.session import Session


@dataclass
class Turn:
    """One operator and the one that takes its place."""

    old: ProcessorOp
    new: ProcessorOp
    handing: Handing | None = None
    """Of keyed state that changes its form."""


class Exchange:
    """The operators of one plugin in the lanes of one attempt, and their successors."""

    def __init__(self, attempt: Attempt, session: Session, steps: frozenset[str]) -> None:
        self.attempt = attempt
        self.session = session
        self.builder = attempt.builder.beside(session)
        self.steps = steps
        self.epoch = -1
        """The epoch that ended where the lanes changed over, once it is committed."""
        self.seconds = 0.0
        """The longest that a lane stood still."""
        self._turns: dict[Lane, list[Turn]] = {}
        self._turned: set[Lane] = set()
        self._seen: dict[Lane, int] = {}
        self.in_place = True
        """The lanes stay; else only state that changes its form is gone on with."""
        self.kept = False

    @property
    def fits(self) -> bool:
        """Can the lanes stay as they are? Else the region begins anew from its last epoch, with the new version."""
        plan, old = self.session.plan, self.attempt.builder
        if any(plan.steps[step].kind != "processor" for step in self.steps):
            return False
        if cut(plan, old.region.steps, self.builder.fusable) != old.chains:
            return False
        if any(turn.old.first != turn.old.step or not turn.new.driver.component.remote for turn in self._all()):
            return False
        return not any(_narrower(old.plan, edge.id, edge.schema) for edge in plan.edges)

    def prepare(self) -> None:
        """Make and open the new operators. Raises DataflareError: why they cannot work."""
        for lane in self.attempt.lanes():
            for operator in lane.operators():
                if operator.step in self.steps:
                    self._turns.setdefault(lane, []).append(self._beside(operator))

    def step_aside(self) -> bool:
        """The region begins anew; whether there is state that changes its form: that is gone on with all the same."""
        self.in_place = False
        for lane, turns in self._turns.items():
            for turn in turns:
                if turn.handing is None:
                    turn.new.driver.close()
            self._turns[lane] = [turn for turn in turns if turn.handing is not None]
        return bool(self._all())

    def handed(self) -> dict[tuple[str, int], KeyedState]:
        """The state in its new form, by step and lane; the lanes have ended. Of a step all of it, or nothing."""
        found: dict[tuple[str, int], KeyedState] = {}
        missing: set[str] = set()
        for turn in self._all():
            old, new = turn.old.state, turn.new.state
            if old is None or new is None or not old.clean:
                missing.add(turn.new.step)
                continue
            try:
                self._hand_over(turn)
                found[(turn.new.step, turn.new.context.lane)] = new
            except DataflareError:
                missing.add(turn.new.step)
        return {key: state for key, state in found.items() if key[0] not in missing}

    def former(self) -> dict[tuple[str, int], KeyedState]:
        """The state in its old form, as it was where it was handed over."""
        states = ((turn.old.step, turn.old.context.lane, turn.old.state) for turn in self._all())
        return {(step, lane): state for step, lane, state in states if state is not None}

    def check(self) -> None:
        """Raise StateError where state that changed meanwhile could not be taken over."""
        for turn in self._all():
            if turn.handing is not None:
                turn.handing.check()

    def turns(self, step: str) -> list[Turn]:
        """The turns of a step, by lane."""
        return [turn for turn in self._all() if turn.old.step == step]

    def drop(self) -> None:
        """It is over: close what was opened for lanes that have not changed over."""
        let_go(self)
        for turn in self._all():
            if self.kept and turn.handing is not None:
                turn.handing.forget()
        for turn in [turn for lane, turns in self._turns.items() if lane not in self._turned for turn in turns]:
            if turn.handing is not None:
                turn.handing.drop()
            turn.new.driver.close()

    def turn(self, lane: Lane, snapshot: bytes | None) -> None:
        """Change over one lane, where the barrier is: in its thread, or of a source under its lock."""
        began = time.monotonic()
        turns = self._turns.get(lane, ())
        for turn in turns:
            if turn.old.state is not None:
                self._hand_over(turn)
            if snapshot is not None and isinstance(lane, ProcessorLane) and turn.old is lane.head:
                with blamed(turn.new.step):
                    turn.new.driver.restore(snapshot, version_of(self.attempt.builder.plan, turn.new.step))
        if turns:
            self._turned.add(lane)
            lane.turn({turn.old.step: turn.new for turn in turns})
        if isinstance(lane, ProcessorLane) and lane.head.state is not None:
            lane.head.state.note()
        self.seconds = max(self.seconds, time.monotonic() - began)

    def keep(self) -> None:
        """The new operators stay: close the old ones, each in its lane's thread."""
        self.kept = True
        for lane, turns in self._turns.items():
            lane.submit(partial(lane.part_with, [turn.old.driver for turn in turns]))
        for lane in self.attempt.lanes():
            if isinstance(lane, ProcessorLane) and lane.head.state is not None:
                lane.submit(lane.head.state.stay)

    def abandon(self) -> None:
        """Nobody waits for a call of the new operators any more."""
        for turn in self._all():
            if turn.new.since is not None:
                turn.new.driver.component.abandon()

    def states(self) -> dict[tuple[str, int], KeyedState]:
        """The keyed state of every lane as it was at the barrier, by step and lane. The lanes have ended."""
        found = {}
        for lane in self.attempt.lanes():
            if isinstance(lane, ProcessorLane) and lane.head.state is not None:
                lane.head.state.undo()
                old = next((turn.old for turn in self._turns.get(lane, ()) if turn.new is lane.head), lane.head)
                if old.state is not None:
                    found[(lane.step, lane.number)] = old.state
        return found

    def tried(self) -> bool:
        """Has every step that changed done something that counts, in one of its lanes?"""
        waiting = set(self.steps)
        for lane, turns in self._turns.items():
            done = {turn.new.step for turn in turns if turn.new.calls}
            # What a call gave is delivered only once the rest of the chain has had it.
            if done and (not lane.busy or lane.delivered > self._seen.setdefault(lane, lane.delivered)):
                waiting -= done
        return not waiting

    def busy(self) -> bool:
        """Is one of them at work?"""
        return any(turn.new.working for turn in self._all())

    def stuck(self, patience: float) -> str | None:
        """The step of which a call takes far longer than its calls did before."""
        now = time.monotonic()
        for turn in self._all():
            since = turn.new.since
            if since is not None and now - since > allowed(patience, turn.old.longest):
                return turn.new.step
        return None

    def _all(self) -> list[Turn]:
        return [turn for turns in self._turns.values() for turn in turns]

    def _beside(self, old: ProcessorOp) -> Turn:
        step, checkpoint = self.session.plan.steps[old.step], self.attempt.checkpoint
        new = self.builder.operator(step, old.context.lane)
        turn = Turn(old, new)
        try:
            inputs = dict(old.aligned.schemas) or self.builder.inputs(old.first)
            if inputs:
                planned = new.plan(inputs)
                known = {(new.step, output): schema for output, schema in planned.items() if not schema.open}
                self.builder.schemas |= known
            with blamed(new.step), patiently(new.driver.component, new.step, self.session.probation):
                new.driver.open(Resume(checkpoint.epoch, incarnation=checkpoint.incarnation))
            held, now = version_of(self.attempt.builder.plan, old.step), version_of(self.session.plan, old.step)
            if old.state is not None and held < now:
                hold(self)
                turn.handing = Handing(old.state, new.driver, held, now, self.session.patience)
                turn.handing.prepare()
        except BaseException:
            if turn.handing is not None:
                turn.handing.drop()
            new.driver.close()
            raise
        return turn

    def _hand_over(self, turn: Turn) -> None:
        old, new = turn.old, turn.new
        assert old.state is not None
        assert new.state is not None
        if turn.handing is None:
            new.state.take(old.state, declared_states(type(new.driver.component)))
        else:
            new.state.take(old.state, ())
            turn.handing.finish(new.state)
        if new.timers is not None and old.timers is not None:
            new.timers.take(old.timers)


def _narrower(plan: object, edge: str, schema: object) -> bool:
    held = next((each.schema for each in plan.edges if each.id == edge), None)  # type: ignore[attr-defined]
    if held is None or schema is None:
        return held is not schema
    new = Schema.from_json(schema)  # type: ignore[arg-type]
    try:
        return not Schema.from_json(held).union(new).arrow.equals(new.arrow)
    except DataflareError:
        return True
