"""One region, running: opens its lanes, drives its epochs, and commits them in the one safe order.

The order is the engine's alone: every sink has prepared → the store holds the epoch (the commit point) → the sinks
commit → the sources are told → the epoch is settled. Barrier e + 1 goes in only after that.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from dataflare.calling import bind, is_overridden
from dataflare.errors import DataflareError, Fenced, Problem, StateError, problem_of
from dataflare.schema import Schema
from dataflare.split import Split
from dataflare_host.checkpoint import Changes, Checkpoint, SplitState
from dataflare_host.layout import Region
from dataflare_pipeline.build import Builder
from dataflare_pipeline.chains import ChainPlan
from dataflare_pipeline.channel import Barrier
from dataflare_pipeline.consent import consents
from dataflare_pipeline.epoch import check_fits, compose, first_checkpoint, tokens_of
from dataflare_pipeline.inner_lane import InnerLane
from dataflare_pipeline.lane import Lane, LaneFailed, Mail, Report
from dataflare_pipeline.lease import Lease
from dataflare_pipeline.policy import Policy
from dataflare_pipeline.session import Session, Status
from dataflare_pipeline.sink_lane import SinkLane
from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.work import Counts

log = logging.getLogger("dataflare.pipeline")
POLL = 0.05
COMMIT_AGAIN = Policy("retry", delay=0.2, cap=10.0)


class Aborted(Exception):
    """Somebody asked to leave at once."""


@dataclass
class Evolving:
    """A source lane that waits with rows of a wider schema."""

    lane: SourceLane
    output: str
    wanted: Schema
    agreed: bool | None = None


@dataclass
class Edit:
    """A person's new position of a split, and the answer."""

    step: str
    split: str
    position: Any
    future: Future[dict[str, Any]] = field(default_factory=Future)


class RegionRun:
    """The leader of one region; ``attempt`` runs it once from its last checkpoint."""

    def __init__(self, session: Session, region: Region, lease: Lease) -> None:
        self.session = session
        self.region = region
        self.lease = lease
        self.status = Status()
        self.written: dict[str, Counts] = {}
        """Rows of this run, by step, of committed epochs."""
        self.checkpoint: Checkpoint | None = None
        self.builder: Builder | None = None
        self.nothing_new = False
        self.wanted: list[Future[int]] = []
        """Checkpoints that were asked for; each gets its epoch."""
        self.edits: list[Edit] = []
        self._mail: queue.SimpleQueue[Mail] = queue.SimpleQueue()
        self._evolving: list[Evolving] = []
        self._acks: list[tuple[int, list[Future[Any]]]] = []
        self._hurry = False
        self._drain_until: float | None = None

    # --- one attempt -------------------------------------------------------------------------------

    def attempt(self) -> str:
        """Run from the last checkpoint; ``finished``, ``stopped`` or ``again``. Raises what ended it otherwise."""
        self._mail, self._evolving, self._acks = queue.SimpleQueue(), [], []
        self.status.state = "starting"
        checkpoint, fresh = self._load()
        builder = self.builder = Builder(
            self.session, self.region, checkpoint, self.lease.token, self._mail, self._on_problem, self._request, self._evolve
        )
        try:
            builder.inner()
            self.checkpoint = self._open(builder, checkpoint, fresh)
            self._recover(builder)
            return self._run(builder)
        except Fenced:
            for sink in self._sinks(builder):
                sink.may_abort = False
            raise
        finally:
            self._shut(builder)

    def wake(self) -> None:
        """Look around now. From any thread."""
        self._mail.put(None)

    def lanes(self) -> list[Lane]:
        """The lanes of the running attempt."""
        return [] if self.builder is None else [lane for lanes in list(self.builder.lanes.values()) for lane in list(lanes)]

    def _load(self) -> tuple[Checkpoint, bool]:
        store, plan = self.session.store, self.session.plan
        found = store.load(plan.name, self.region.name)
        if found is None:
            return first_checkpoint(plan, self.region, self.session.part.layout), True
        check_fits(found, plan, self.region)
        return found, False

    # --- opening -----------------------------------------------------------------------------------

    def _open(self, builder: Builder, checkpoint: Checkpoint, fresh: bool) -> Checkpoint:
        """Start every lane's thread, open it there, list the splits; commit epoch 0 of a new incarnation."""
        for lanes in builder.lanes.values():
            for lane in lanes:
                lane.start()
        for chain in builder.chains:
            if self.session.plan.steps[chain.head].kind == "source":
                self._open_source(builder, chain, checkpoint, fresh)
            for lane in builder.lanes[chain.head]:
                if isinstance(lane, InnerLane):
                    self._open_inner(builder, chain, lane, checkpoint, fresh)
        if fresh:
            made, _ = compose(checkpoint, self.session.plan, 0, [], builder.books, False)
            made.settled = True
            self.session.store.commit(made, Changes(), self.lease.token)
            checkpoint = made
        for name, book in builder.books.items():
            book.committed(checkpoint.splits.get(name, ()))
        return checkpoint

    def _open_source(self, builder: Builder, chain: ChainPlan, checkpoint: Checkpoint, fresh: bool) -> None:
        step = self.session.plan.steps[chain.head]
        first = builder.source(chain, 0)
        first.start()
        if fresh:
            self._call(first, lambda: self._create(first, checkpoint))
        self._call(first, lambda: builder.open(chain, first))
        self._call(first, lambda: _list_splits(first))
        cap = first.driver.component.spec.lanes
        wanted = self.session.source_lanes(step, first.book.waiting())
        for number in range(1, wanted if cap is None else min(cap, wanted)):
            lane = builder.source(chain, number)
            lane.start()
            self._call(lane, partial(builder.open, chain, lane))

    def _open_inner(self, builder: Builder, chain: ChainPlan, lane: InnerLane, checkpoint: Checkpoint, fresh: bool) -> None:
        if isinstance(lane, SinkLane):
            if fresh:
                self._call(lane, lambda: self._create(lane, checkpoint))
            lane.resume(checkpoint.epoch)
        self._call(lane, lambda: builder.open(chain, lane))
        if isinstance(lane, SinkLane):
            held = self._call(lane, lane.driver.recover)
            if held is not None and held > checkpoint.epoch:
                raise StateError.of(
                    "state.sink_ahead",
                    f"the target of `{lane.step}` holds epoch {held}, the state store only {checkpoint.epoch}",
                    cause="the store is older than the target: it was restored or replaced",
                    fix="bring the newer store back, or start anew with `--from-start --replace`",
                )

    def _create(self, lane: SourceLane | SinkLane, checkpoint: Checkpoint) -> None:
        """Things made once, and how a sink treats a target that has rows. In the lane's thread."""
        if lane.number:
            return
        component = lane.driver.component
        made = bind(component, "on_created")({"ctx": lane.driver.ctx}) if is_overridden(component, "on_created") else None
        existing = self.session.option("existing", None)
        if existing is not None and isinstance(lane, SinkLane):
            made = {**(made or {}), "existing": existing}
        if made is not None:
            checkpoint.made[lane.step] = made

    # --- recovery ----------------------------------------------------------------------------------

    def _recover(self, builder: Builder) -> None:
        """What was decided before the last end is carried out first: commit, acknowledge, settle."""
        checkpoint = self.checkpoint
        assert checkpoint is not None
        self.status.epoch, self.status.committed_at = checkpoint.epoch, checkpoint.committed_at
        if checkpoint.settled:
            return
        self._commit_sinks(builder, checkpoint)
        self._acknowledge(builder, checkpoint, None)
        self._settle(wait=True)

    # --- the epochs --------------------------------------------------------------------------------

    def _run(self, builder: Builder) -> str:
        assert self.checkpoint is not None
        sources = self._sources(builder)
        if self.checkpoint.finished and self._exhausted(builder):
            self.nothing_new = True
            return "finished"
        self.status.state = "running"
        for source in sources:
            source.release()
        next_epoch = time.monotonic() + self._interval()
        while True:
            why = self._wait(builder, next_epoch)
            if why in ("stop", "edit"):
                self._quiet(sources)
            last = why == "end" or (why == "stop" and self.session.final.is_set())
            if why != "interval" or self._news(builder):
                self._epoch(builder, last)
            next_epoch = time.monotonic() + self._interval()
            self._answer(builder, sources)
            if last or why == "stop":
                self._settle(wait=True)
                return "finished" if last else "stopped"
            if why == "edit":
                self._settle(wait=True)
                self._edit()
                return "again"

    def _wait(self, builder: Builder, next_epoch: float) -> str:
        """Until there is a reason for an epoch: ``interval``, ``end``, ``stop``, ``edit`` or ``asked``."""
        while True:
            self._settle()
            if self.session.stopping.is_set():
                self.status.state = "stopping"
                return "stop"
            if self._exhausted(builder):
                return "end"
            if self.edits:
                return "edit"
            if self._evolving or self.wanted or self._hurry or self._full(builder):
                self._hurry = False
                return "asked"
            left = next_epoch - time.monotonic()
            if left <= 0:
                return "interval"
            self._mail_in(min(left, POLL) if self._acks or self._bounded() else left)

    def _epoch(self, builder: Builder, last: bool) -> None:
        """One epoch, from its barrier to its acknowledgement."""
        assert self.checkpoint is not None
        epoch = self.checkpoint.epoch + 1
        sources = self._sources(builder)
        if self._evolving:
            for source in sources:
                source.hold()
        if last:
            for source in sources:
                self._call(source, source.finish)
        barrier = Barrier(epoch, last)
        by_lane = {source: source.inject(barrier) for source in sources}
        reports = [*by_lane.values(), *self._collect(builder, epoch)]
        made, changes = compose(self.checkpoint, self.session.plan, epoch, reports, builder.books, last)
        for sink in self._sinks(builder):
            sink.decided()
        self.session.store.commit(made, changes, self.lease.token)
        before, self.checkpoint = self.checkpoint, made
        self._tally(reports)
        self.status.epoch, self.status.committed_at = epoch, made.committed_at
        for name, book in builder.books.items():
            book.committed(made.splits[name])
        self._commit_sinks(builder, made)
        self._acknowledge(builder, made, before, by_lane)
        self._settle()

    def _collect(self, builder: Builder, epoch: int) -> list[Report]:
        """The reports of every lane behind a channel. Raises what a lane failed with."""
        missing = {lane.id for lane in self.lanes() if isinstance(lane, InnerLane)}
        reports: list[Report] = []
        while missing:
            report = self._mail_in(POLL)
            if report is not None and report.epoch == epoch:
                missing.discard(report.lane)
                reports.append(report)
        return reports

    def _commit_sinks(self, builder: Builder, checkpoint: Checkpoint) -> None:
        """Every sink commits the decided epoch, however long that takes: nothing is aborted any more."""
        for step in checkpoint.tokens:
            lane, tokens = cast(SinkLane, builder.lanes[step][0]), tokens_of(checkpoint, step)
            attempt = 0
            while True:
                try:
                    self._call(lane, partial(lane.driver.commit, checkpoint.epoch, tokens))
                    break
                except (Aborted, Fenced, _LaneEnded):
                    raise
                except Exception as error:
                    self._blocked(step, checkpoint.epoch, error)
                    self._sleep(COMMIT_AGAIN.wait(attempt))
                    attempt += 1
        if self.status.state == "blocked":
            self.status.state, self.status.problem = "running", None

    def _blocked(self, step: str, epoch: int, error: Exception) -> None:
        problem = problem_of(error, "sink.commit_failed")
        if isinstance(error, DataflareError) and problem.kind != "retry":
            raise StateError(
                Problem(
                    "commit_pending", f"`{step}` refuses to commit epoch {epoch}, which is decided: {problem.message}", "fatal",
                    cause=problem.cause, fix="mend the target and run again (the commit is repeated first), or "
                    f"`dataflare state resolve` with --sink {step} --epoch {epoch}", details={"step": step, "epoch": epoch},
                )  # fmt: skip
            ) from error
        self.status.state, self.status.problem = "blocked", problem
        log.warning("commit of epoch %s by `%s` failed, again soon: %s", epoch, step, problem.message)

    def _acknowledge(
        self, builder: Builder, made: Checkpoint, before: Checkpoint | None, by_lane: dict[SourceLane, Report] | None = None
    ) -> None:
        """Send the new positions upstream; the epoch is settled once all are told."""
        futures: list[Future[Any]] = []
        for source in self._sources(builder):
            if not is_overridden(source.driver.component, "acknowledge"):
                continue
            states = by_lane[source].splits.values() if by_lane else made.splits[source.step] if source.number == 0 else ()
            known = {} if before is None else {state.id: state for state in before.splits.get(source.step, ())}
            for state in states:
                if state.position is not None and state != known.get(state.id):
                    futures.append(source.submit(_acknowledging(source, state)))
        self._acks.append((made.epoch, futures))

    def _settle(self, wait: bool = False) -> None:
        """Mark epochs settled whose acknowledgements have been taken. ``wait``: for all of them."""
        while self._acks:
            epoch, futures = self._acks[0]
            if not wait and not all(future.done() for future in futures):
                return
            for future in futures:
                self._result(future)
            self.session.store.settle(self.session.plan.name, self.region.name, epoch, self.lease.token)
            self.session.store.prune(self.session.plan.name, self.region.name, int(self.session.option("keep", 5)))
            if self.checkpoint is not None and self.checkpoint.epoch == epoch:
                self.checkpoint.settled = True
            self._acks.pop(0)

    # --- what people and sources ask for ------------------------------------------------------------

    def _request(self) -> None:
        self._hurry = True
        self.wake()

    def _evolve(self, lane: SourceLane, output: str, wanted: Schema) -> bool:
        """Called by a source lane that holds rows of a wider schema: wait for a checkpoint and for consent."""
        request = Evolving(lane, output, wanted)
        self._evolving.append(request)
        self.wake()
        lane.serve_until(lambda: request.agreed is not None)
        return bool(request.agreed)

    def _answer(self, builder: Builder, sources: list[SourceLane]) -> None:
        """After an epoch: those who asked for it get their answer."""
        assert self.checkpoint is not None
        asked, self.wanted = self.wanted, []
        for future in asked:
            future.set_result(self.checkpoint.epoch)
        evolving, self._evolving = self._evolving, []
        for request in evolving:
            request.agreed = consents(self.session, builder.schemas, request.lane.step, request.output, request.wanted)
        if evolving:
            for source in sources:
                source.release()

    def _edit(self) -> None:
        """A person's edit of positions: an epoch without rows."""
        edits, self.edits = self.edits, []
        assert self.checkpoint is not None
        made, _ = compose(self.checkpoint, self.session.plan, self.checkpoint.epoch + 1, [], {}, False)
        made.tokens, made.snapshots = self.checkpoint.tokens, self.checkpoint.snapshots
        made.keyed, made.state_versions = self.checkpoint.keyed, self.checkpoint.state_versions
        made.settled, made.guarantee = True, [*made.guarantee, f"edited at {made.epoch}"]
        done: list[Edit] = []
        for edit in edits:
            state = next((state for state in made.splits.get(edit.step, ()) if state.id == edit.split), None)
            if state is None:
                edit.future.set_exception(StateError.of("state.unknown_split", f"`{edit.step}` has no split `{edit.split}`"))
                continue
            state.position, state.status = edit.position, "active"
            done.append(edit)
        self.session.store.commit(made, Changes(), self.lease.token)
        for edit in done:
            edit.future.set_result({"epoch": made.epoch})

    # --- small things -------------------------------------------------------------------------------

    def _news(self, builder: Builder) -> bool:
        """Has anything changed since the last barrier that an epoch would keep?"""
        return any(lane.has_news() for lane in self.lanes()) or any(book.changed for book in builder.books.values())

    def _quiet(self, sources: list[SourceLane]) -> None:
        """No more deliveries; rows already taken from a source that cannot replay go out first."""
        self._drain_until = time.monotonic() + float(self.session.option("drain_timeout", 30.0))
        for source in sources:
            while source.driver.replay == "none" and source.busy:
                self._mail_in(POLL)
        for source in sources:
            source.hold()

    def _full(self, builder: Builder) -> bool:
        bounds = self.session.plan.checkpoint
        rows, size = bounds.get("rows"), bounds.get("bytes")
        if not (rows or size):
            return False
        delivered = [source.delivered for source in self._sources(builder)]
        return bool((rows and sum(d[0] for d in delivered) >= rows) or (size and sum(d[1] for d in delivered) >= size))

    def _bounded(self) -> bool:
        return bool(self.session.plan.checkpoint.get("rows") or self.session.plan.checkpoint.get("bytes"))

    def _interval(self) -> float:
        return float(self.session.plan.checkpoint.get("interval") or 1.0)

    def _exhausted(self, builder: Builder) -> bool:
        return all(book.exhausted() for book in builder.books.values())

    def _sources(self, builder: Builder) -> list[SourceLane]:
        return [lane for lanes in builder.lanes.values() for lane in lanes if isinstance(lane, SourceLane)]

    def _sinks(self, builder: Builder) -> list[SinkLane]:
        return [lane for lanes in builder.lanes.values() for lane in lanes if isinstance(lane, SinkLane)]

    def _tally(self, reports: list[Report]) -> None:
        for report in reports:
            for step, counts in report.counts.items():
                self.written.setdefault(step, Counts()).add(counts)

    def _on_problem(self, problem: Problem | None) -> None:
        self.status.problem = problem

    def _mail_in(self, timeout: float) -> Report | None:
        """The next report, if one comes in time. Raises what a lane failed with, Fenced, Aborted."""
        self._check()
        try:
            mail = self._mail.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if isinstance(mail, LaneFailed):
            raise mail.error
        self._check()
        return mail

    def _check(self) -> None:
        if self.lease.lost.is_set():
            raise Fenced.of(
                "state.fenced", f"another process has taken over the flow `{self.session.plan.name}`",
                fix="nothing is lost: that process goes on from the last committed epoch",
            )  # fmt: skip
        if self.session.aborting.is_set():
            raise Aborted
        if self._drain_until is not None and time.monotonic() > self._drain_until:
            raise StateError.of(
                "run.drain_timeout", "the flow did not come to rest in time",
                fix="raise `drain_timeout`, or look which step is slow; nothing is lost, the next run recovers",
            )  # fmt: skip

    def _call(self, lane: Lane, function: Callable[[], Any]) -> Any:
        """Run something in a lane's thread and wait for it."""
        return self._result(lane.submit(function))

    def _result(self, future: Future[Any]) -> Any:
        while True:
            try:
                return future.result(POLL)
            except FutureTimeout:
                if future.done():
                    raise
                self._look_for_failure()
            except CancelledError:
                self._look_for_failure()
                raise _LaneEnded from None

    def _look_for_failure(self) -> None:
        """Raise a lane's failure now, keep the other mail."""
        kept: list[Mail] = []
        self._check()
        while not self._mail.empty():
            mail = self._mail.get()
            if isinstance(mail, LaneFailed):
                raise mail.error
            kept.append(mail)
        for mail in kept:
            self._mail.put(mail)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.session.stopping.is_set() and self._drain_until is None:
                self._drain_until = time.monotonic() + float(self.session.option("drain_timeout", 30.0))
            self._look_for_failure()
            time.sleep(min(left, POLL))

    def _shut(self, builder: Builder) -> None:
        """End every lane: wake all, wait for their threads."""
        builder.cancel.set()
        lanes = [lane for lanes in builder.lanes.values() for lane in lanes]
        for lane in lanes:
            lane.close()
        until = time.monotonic() + float(self.session.option("grace", 10.0))
        for lane in lanes:
            if lane.ident is not None:
                lane.join(max(0.0, until - time.monotonic()))
                if lane.is_alive():
                    log.error("`%s` does not return from its component; it is left behind", lane.id)


class _LaneEnded(Exception):
    """A lane ended before it could do what it was asked."""


def _list_splits(lane: SourceLane) -> None:
    """The first round of splits; more rounds follow where the source says so by a position. In the lane's thread."""
    rounds = lane.driver.splits(lane.book.discovery, lane.book.finished())
    first = next(rounds, None)
    if first is None:
        return
    splits, position = first
    lane.book.add(splits, position)
    if position is not None:
        lane.rounds, lane.book.discovering = rounds, True


def _acknowledging(lane: SourceLane, state: SplitState) -> Callable[[], None]:
    split = Split(state.id, state.data, state.start, tuple(state.after), state.size)
    return lambda: lane.driver.acknowledge(split, state.position)
