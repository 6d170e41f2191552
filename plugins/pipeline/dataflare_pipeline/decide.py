"""After the commit point: sinks commit, sources are told, the epoch is settled. Nothing is aborted any more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from dataflare import crash
from dataflare.calling import is_overridden
from dataflare.checkpoint import Checkpoint, SplitState
from dataflare.errors import DataflareError, Fenced, Problem, Reject, StateError, problem_of
from dataflare.split import Json, Split
from dataflare_pipeline.epoch import tokens_of
from dataflare_pipeline.lane import Report
from dataflare_pipeline.policy import Policy, asked_pause, blamed
from dataflare_pipeline.session import Session, Status
from dataflare_pipeline.sink_lane import SinkLane
from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.waiting import Mailbox

log = logging.getLogger("dataflare.pipeline")
AGAIN = Policy("retry", delay=0.2, cap=10.0)


class Decisions:
    """Carries out decided epochs of one attempt."""

    def __init__(self, session: Session, region: str, fence: int, mailbox: Mailbox, status: Status) -> None:
        self._session = session
        self._region = region
        self._fence = fence
        self._mailbox = mailbox
        self._status = status
        self._told: list[tuple[Checkpoint, list[Future[Any]]]] = []

    @property
    def pending(self) -> bool:
        """Acknowledgements are under way."""
        return bool(self._told)

    def commit(self, sinks: Mapping[str, SinkLane], checkpoint: Checkpoint) -> None:
        """Every sink commits the decided epoch, however long that takes.

        Raises StateError ``commit_pending`` where a target refuses for good; a restart repeats that commit first.
        """
        for step in checkpoint.tokens:
            lane, tokens, attempt = sinks[step], tokens_of(checkpoint, step), 0
            crash.point("sink-commit")
            while (error := self._mailbox.call(lane, partial(_commit, lane, checkpoint.epoch, tokens))) is not None:
                wait = asked_pause(AGAIN, error, attempt)
                self._session.circuit(step).failed(problem_of(error, "sink.commit_failed"), wait)
                self._blocked(step, checkpoint.epoch, error)
                self._mailbox.sleep(wait)
                attempt += 1
            self._session.circuit(step).passed()
            crash.point("committed")
        if self._status.state == "blocked":
            self._status.state, self._status.problem = "running", None

    def acknowledge(
        self,
        sources: list[SourceLane],
        made: Checkpoint,
        before: Checkpoint | None,
        reports: Mapping[SourceLane, Report],
    ) -> None:
        """Send positions upstream: those that moved since ``before``; after a restart (None) all of them."""
        crash.point("acknowledge")
        futures: list[Future[Any]] = []
        for source in sources:
            if not is_overridden(source.driver.component, "acknowledge"):
                continue
            known = {} if before is None else {state.id: state for state in before.splits.get(source.step, ())}
            states = list(reports[source].splits.values()) if source in reports else []
            if before is None and source.number == 0:
                states = made.splits.get(source.step, [])
            futures += [
                source.submit(_telling(source, state))
                for state in states
                if state.position is not None and state != known.get(state.id)
            ]
        self._told.append((made, futures))

    def settle(self, *, wait: bool = False) -> None:
        """Mark epochs settled whose acknowledgements were taken. ``wait``: for all of them."""
        while self._told:
            checkpoint, futures = self._told[0]
            if not wait and not all(future.done() for future in futures):
                return
            for future in futures:
                self._mailbox.result(future)
            crash.point("settle")
            store, flow = self._session.store, self._session.plan.name
            store.settle(flow, self._region, checkpoint.epoch, self._fence)
            store.prune(flow, self._region, int(self._session.option("keep", 5)))
            checkpoint.settled = True
            self._told.pop(0)

    def _blocked(self, step: str, epoch: int, error: Exception) -> None:
        problem = problem_of(error, "sink.commit_failed")
        if isinstance(error, Reject) or (isinstance(error, DataflareError) and problem.kind != "retry"):
            # A run that was frozen may find its rows published by its successor: then it is that one's to say.
            self._session.store.beat(self._session.plan.name, self._region, self._fence)
            raise StateError(
                Problem(
                    "commit_pending",
                    f"`{step}` refuses to commit epoch {epoch}, which is decided: {problem.message}",
                    "fatal",
                    cause=problem.cause,
                    fix="mend the target and run again (the commit is repeated first), or "
                    f"`dataflare state resolve` with --sink {step} --epoch {epoch}",
                    details={"step": step, "epoch": epoch},
                )
            ) from error
        self._status.state, self._status.problem = "blocked", problem
        log.warning("commit of epoch %s by `%s` failed, again soon: %s", epoch, step, problem.message)


def _commit(lane: SinkLane, epoch: int, tokens: list[Json]) -> Exception | None:
    """The target's own failure is a result: what is raised here is about the lane or the flow."""
    try:
        lane.driver.commit(epoch, tokens)
    except Fenced:
        raise
    except Exception as error:
        return error
    return None


def _telling(lane: SourceLane, state: SplitState) -> Callable[[], None]:
    split = Split(state.id, state.data, state.start, tuple(state.after), state.size)

    def tell() -> None:
        with blamed(lane.step):
            lane.driver.acknowledge(split, state.position)
        crash.point("acknowledged")

    return tell
