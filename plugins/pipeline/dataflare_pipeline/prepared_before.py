"""Epochs that another version of a sink's plugin prepared are committed by that version: tokens are for who made them.

There are such after a death in the middle of a reload, or before an upgrade. The other version is taken from where it
is unpacked; where it is not there any more, the version of today commits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from dataflare import crash
from dataflare.errors import ConfigError
from dataflare.schema import Schema
from dataflare.split import Resume
from dataflare_pipeline.policy import blamed

if TYPE_CHECKING:
    from dataflare.checkpoint import Checkpoint
    from dataflare.component import Component
    from dataflare_host.plan import StepPlan
    from dataflare_pipeline.build import Builder
    from dataflare_pipeline.decide import Decisions
    from dataflare_pipeline.session import Session
    from dataflare_pipeline.sink_lane import SinkLane
    from dataflare_pipeline.waiting import Mailbox

log = logging.getLogger("dataflare.pipeline")


def commit_former(builder: Builder, mailbox: Mailbox, decisions: Decisions) -> frozenset[str]:
    """Commit what older versions prepared; the sinks that are done. Before any instance of today's is open."""
    held, done = builder.checkpoint, set()
    for step, component in _former(builder.session, held):
        lane = builder.sink_lane(step, 0, component)
        lane.start()
        try:
            mailbox.call(lane, partial(_open, lane, step, builder))
            decisions.commit({step.name: lane}, replace(held, tokens={step.name: held.tokens[step.name]}))
        finally:
            lane.may_abort = False
            lane.close()
            lane.join()
        crash.point("committed-former")
        done.add(step.name)
    return frozenset(done)


def _former(session: Session, held: Checkpoint) -> Iterator[tuple[StepPlan, Component]]:
    if held.settled:
        return
    for name in held.tokens:
        step = session.plan.steps[name]
        uses, _, version = held.plugins.get(name, "").rpartition("==")
        if uses != step.uses or version == step.version:
            continue
        generation = session.host.former(step.plugin, version)
        try:
            if generation is not None:
                yield step, session.host.step(session.plan, name, generation)
                session.host.retire(generation)
                continue
        except ConfigError as error:
            log.warning("`%s` %s cannot be had any more: %s", step.uses, version, error)
        log.warning("`%s` %s prepared epoch %s; %s commits it", step.uses, version, held.epoch, step.version)


def _open(lane: SinkLane, step: StepPlan, builder: Builder) -> None:
    """In the lane's thread."""
    held, plan = builder.checkpoint, builder.plan
    given = [edge.schema for edge in plan.inputs(step.name)]
    if given and None not in given:
        first, *others = [Schema.from_json(each) for each in given if each is not None]
        for other in others:
            first = first.union(other)
        lane.plan(first)
    with blamed(step.name):
        lane.driver.open(Resume(held.epoch, held.tokens[step.name], held.made.get(step.name), held.incarnation))
