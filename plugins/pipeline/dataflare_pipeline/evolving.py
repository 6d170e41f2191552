"""Schemas that grow while the flow runs: the source's lane waits, a checkpoint is made, then all steps are asked."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from dataflare.errors import ConfigError
from dataflare.schema import Schema
from dataflare_pipeline.build import Builder
from dataflare_pipeline.consent import planned_with
from dataflare_pipeline.session import Session
from dataflare_pipeline.sink_lane import SinkLane
from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.waiting import Mailbox

log = logging.getLogger("dataflare.pipeline")


@dataclass
class Evolving:
    """A source lane that waits with rows of a wider schema."""

    lane: SourceLane
    output: str
    wanted: Schema
    agreed: bool | None = None


class Evolution:
    """The lanes of one attempt that wait for consent."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: deque[Evolving] = deque()

    @property
    def waiting(self) -> list[SourceLane]:
        """The lanes that wait."""
        return [request.lane for request in list(self._waiting)]

    def ask(self, lane: SourceLane, output: str, wanted: Schema) -> bool:
        """Wait for a checkpoint and for consent. In the lane's thread; raises Closed."""
        request = Evolving(lane, output, wanted)
        self._waiting.append(request)
        self._wake()
        lane.serve_until(lambda: request.agreed is not None)
        return bool(request.agreed)

    def take(self) -> list[Evolving]:
        """Those who have asked until now; what they delivered before is in the next epoch."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


def decide(session: Session, builder: Builder, mailbox: Mailbox, requests: list[Evolving]) -> None:
    """Answer each: with consent the source's schema is the wanted one, and every sink is planned for it."""
    for request in requests:
        agreed = _agree(session, builder, mailbox, request)
        request.agreed = agreed


def _agree(session: Session, builder: Builder, mailbox: Mailbox, request: Evolving) -> bool:
    step, output = request.lane.step, request.output
    schemas = builder.agreed[step]
    try:
        wanted = schemas[output].union(request.wanted) if output in schemas else request.wanted
    except ConfigError:
        return False  # another lane was first, with a type that does not go with this one
    known = planned_with(session, builder.schemas, step, output, wanted)
    if known is None:
        return False
    builder.schemas.update(known)
    for lanes in list(builder.lanes.values()):
        for lane in lanes:
            if isinstance(lane, SinkLane) and (inputs := builder.inputs(lane.step)):
                mailbox.call(lane, partial(lane.plan, inputs[""]))
    schemas[output] = wanted
    return True
