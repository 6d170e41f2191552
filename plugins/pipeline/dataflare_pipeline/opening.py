"""Opens the lanes of an attempt: each component in the thread of its lane, from what the checkpoint holds of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from dataflare.drive import ProcessorDriver, SinkDriver
from dataflare.errors import ConfigError, StateError
from dataflare.split import Json, Resume
from dataflare.state import declared_states
from dataflare_pipeline import migrate
from dataflare_pipeline.build import Builder
from dataflare_pipeline.carried import Carried
from dataflare_pipeline.chains import ChainPlan
from dataflare_pipeline.epoch import version_of
from dataflare_pipeline.inner_lane import InnerLane, ProcessorLane
from dataflare_pipeline.keyed import KEY_SCHEMA, TIMERS, group_of, lane_of
from dataflare_pipeline.lane import Lane
from dataflare_pipeline.operator import ProcessorOp
from dataflare_pipeline.policy import blamed
from dataflare_pipeline.replay import Wanted
from dataflare_pipeline.replaying import replay_lanes
from dataflare_pipeline.session import Session
from dataflare_pipeline.sink_lane import SinkLane
from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.waiting import Mailbox


class Opening:
    """Opens the lanes of one attempt. ``made``: what steps made that the checkpoint does not know yet."""

    def __init__(
        self, session: Session, builder: Builder, mailbox: Mailbox, carried: Carried | None, on_trial: bool
    ) -> None:
        self.made: dict[str, Json] = {}
        self._session = session
        self._builder = builder
        self._mailbox = mailbox
        self._carried = carried
        self._on_trial = on_trial
        self._checkpoint = builder.checkpoint

    def lanes(self, replaying: Wanted | None) -> None:
        """Start every lane's thread and open it there; list the splits."""
        for lanes in self._builder.lanes.values():
            for lane in lanes:
                lane.start()
        for chain in self._builder.chains:
            if self._session.plan.steps[chain.head].kind == "source":
                self._source(chain)
            for lane in self._builder.lanes[chain.head]:
                if isinstance(lane, InnerLane):
                    self._inner(lane)
        for replay in replay_lanes(self._builder, replaying) if replaying else ():
            replay.start()
            self._mailbox.call(replay, partial(self._open, replay))

    def _source(self, chain: ChainPlan) -> None:
        step = self._session.plan.steps[chain.head]
        first = self._builder.source(chain, 0)
        first.start()
        self._mailbox.call(first, lambda: self._create(first))
        self._mailbox.call(first, lambda: self._open(first))
        self._mailbox.call(first, lambda: _list_splits(first))
        cap = first.driver.component.spec.lanes
        wanted = self._session.source_lanes(step, None if first.book.discovering else first.book.waiting())
        for number in range(1, wanted if cap is None else min(cap, wanted)):
            lane = self._builder.source(chain, number)
            lane.start()
            self._mailbox.call(lane, partial(self._open, lane))

    def _inner(self, lane: InnerLane) -> None:
        if isinstance(lane, SinkLane):
            self._mailbox.call(lane, lambda: self._create(lane))
            lane.resume(self._checkpoint.epoch)
        self._mailbox.call(lane, lambda: self._open(lane))
        if isinstance(lane, SinkLane):
            held = self._mailbox.call(lane, lambda: _recovered(lane))
            if held is not None and held > self._checkpoint.epoch:
                raise StateError.of(
                    "state.sink_ahead",
                    f"the target of `{lane.step}` holds epoch {held}, the state store only {self._checkpoint.epoch}",
                    cause="the store is older than the target: it was restored or replaced",
                    fix="bring the newer store back, or start anew with `--from-start --replace`",
                )

    def _create(self, lane: SourceLane | SinkLane) -> None:
        """Things made once for a new step, and how it treats a target that has rows. In the lane's thread."""
        step = lane.step
        if lane.number:
            return
        if step in self._checkpoint.plugins:
            self._update(lane)
            return
        with blamed(step):
            made = lane.driver.on_created()
        existing = self._session.option("existing", None)
        if existing is not None and isinstance(lane, SinkLane) and isinstance(made, dict | None):
            made = {**(made or {}), "existing": existing}
        if made is not None:
            self.made[step] = made

    def _update(self, lane: SourceLane | SinkLane) -> None:
        """What a step made follows its configuration. In the lane's thread."""
        step, checkpoint = lane.step, self._checkpoint
        before = checkpoint.made_with.get(step)
        if before is None or before == self._session.plan.steps[step].config:
            return
        held = checkpoint.made[step]
        with blamed(step):
            made = lane.driver.on_updated(held, before)
        if isinstance(held, dict) and "existing" in held and isinstance(made, dict | None):
            made = {**(made or {}), "existing": held["existing"]}
        self.made[step] = made

    # --- one lane, in its thread -------------------------------------------------------------------

    def _open(self, lane: Lane) -> None:
        """Plan, open and restore everything in the lane."""
        if isinstance(lane, SourceLane):
            with blamed(lane.step):
                lane.driver.open(self._resume(lane.step))
        if isinstance(lane, SinkLane):
            self._sink(lane)
        if isinstance(lane, ProcessorLane):
            self._processor(lane.head)
            if lane.head.timers is not None:
                lane.head.timers.restore()
            lane.resume_time(self._resume(lane.step).watermark)
        for operator in lane.chain.operators:
            self._processor(operator)

    def _processor(self, operator: ProcessorOp) -> None:
        inputs = self._builder.inputs(operator.first)
        if inputs:
            planned = operator.plan(inputs)
            known = {(operator.step, output): schema for output, schema in planned.items() if not schema.open}
            self._builder.schemas |= known
        with blamed(operator.step):
            operator.driver.open(self._resume(operator.step))
        if operator.state is not None and self._checkpoint.epoch:
            self._load_state(operator)
        if operator.state is not None and self._on_trial:
            operator.state.note()
        self._restore(operator.driver, operator.step, operator.context.lane)

    def _sink(self, lane: SinkLane) -> None:
        inputs = self._builder.inputs(lane.step)
        if inputs:
            lane.plan(inputs[""])
        with blamed(lane.step):
            lane.driver.open(self._resume(lane.step))
        self._restore(lane.driver, lane.step, lane.number)

    def _load_state(self, operator: ProcessorOp) -> None:
        state, step, plan = operator.state, operator.step, self._session.plan
        assert state is not None
        lane, lanes = operator.context.lane, len(self._builder.lanes[step])
        held, now = self._checkpoint.state_versions.get(step), version_of(plan, step)
        older = held is not None and held < now
        store, region = self._session.store, self._builder.region.name
        carried = self._carried.state(self._checkpoint, step, lane) if self._carried else None
        renewed = self._carried is not None and step in self._carried.renewed
        if carried is not None and older == renewed:
            state.take(carried, declared_states(type(operator.driver.component)))
            if renewed:
                state.renew()
            return
        declared = [*declared_states(type(operator.driver.component)), TIMERS, KEY_SCHEMA]
        kept = [name for owner, name in store.states(plan.name, region) if owner == step]
        for name in (name for name in kept if name.partition("/")[0] in declared):
            rows = store.state(plan.name, region, step, name)
            # What stands under the empty key belongs to the step, so to each of its lanes.
            mine: Iterator[migrate.Row] = (
                row for row in rows if not row[0] or lane_of(group_of(row[0]), lanes) == lane
            )
            if older and held is not None and name not in (TIMERS, KEY_SCHEMA):
                mine = migrate.values(operator.driver, step, name.partition("/")[0], mine, held, now)
            state.load(name, mine, changed=older)

    def _restore(self, driver: ProcessorDriver | SinkDriver, step: str, lane: int) -> None:
        text = self._checkpoint.snapshots.get(step, {}).get(str(lane))
        if text is not None:
            with blamed(step):
                driver.restore(base64.b64decode(text), self._checkpoint.state_versions.get(step, 1))

    def _resume(self, step: str) -> Resume:
        made = self.made.get(step, self._checkpoint.made.get(step))
        tokens, incarnation = self._checkpoint.tokens.get(step, {}), self._checkpoint.incarnation
        mark = self._checkpoint.watermarks.get(step)
        time = None if mark is None else datetime.fromisoformat(mark)
        return Resume(self._checkpoint.epoch, tokens, made, incarnation, watermark=time)


def _list_splits(lane: SourceLane) -> None:
    """The first round of splits; more rounds follow where the source says so by a position. In the lane's thread."""
    with blamed(lane.step):
        rounds = lane.driver.splits(lane.book.discovery, lane.book.finished())
        first = next(rounds, None)
    if first is None:
        return
    splits, position = first
    lane.book.add(splits, position)
    if position is not None:
        lane.rounds, lane.book.discovering = rounds, True
    elif missing := lane.book.missing():
        raise ConfigError.of(
            "source.splits",
            f"a split of `{lane.step}` starts after `{missing}`, and there is no such split",
            fix="name in `after` the ids of splits that the source lists",
        )


def _recovered(lane: SinkLane) -> int | None:
    """The last epoch that a sink's target holds, where it can tell. In the lane's thread."""
    with blamed(lane.step):
        held: int | None = lane.driver.recover()
    return held
