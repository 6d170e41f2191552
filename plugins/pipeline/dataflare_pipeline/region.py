"""One region, running: opens its lanes, drives its epochs, and commits them in the one safe order.

The order is the engine's alone: every sink has prepared → the store holds the epoch (the commit point) → the sinks
commit → the sources are told → the epoch is settled. Barrier e + 1 goes in only after that.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dataflare.calling import bind, is_overridden
from dataflare.errors import Fenced, Problem, StateError
from dataflare.schema import Schema
from dataflare_host.checkpoint import Changes, Checkpoint
from dataflare_host.layout import Region
from dataflare_pipeline import crash
from dataflare_pipeline.build import Builder
from dataflare_pipeline.chains import ChainPlan
from dataflare_pipeline.channel import Barrier
from dataflare_pipeline.consent import consents
from dataflare_pipeline.decide import Decisions
from dataflare_pipeline.epoch import check_fits, compose, first_checkpoint
from dataflare_pipeline.former import forget_former
from dataflare_pipeline.inner_lane import InnerLane
from dataflare_pipeline.lane import Lane, Report
from dataflare_pipeline.lease import Lease
from dataflare_pipeline.policy import blamed
from dataflare_pipeline.replay import Wanted
from dataflare_pipeline.session import Session, Status
from dataflare_pipeline.sink_lane import SinkLane
from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.waiting import POLL, Mailbox
from dataflare_pipeline.work import Counts

log = logging.getLogger("dataflare.pipeline")


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
        self.rejects: dict[str, dict[str, int]] = {}
        """Rows of this run that were refused, by step and code."""
        self.checkpoint: Checkpoint | None = None
        self.builder: Builder | None = None
        self.nothing_new = False
        self.wanted: list[Future[int]] = []
        """Checkpoints that were asked for; each gets its epoch."""
        self.edits: list[Edit] = []
        self.replaying: Wanted | None = None
        """Dead letters that the next attempt replays."""
        self.replay_wanted: Wanted | None = None
        """Dead letters that somebody wants replayed: the attempt ends at a barrier, the next one does it."""
        self._mailbox = Mailbox(session, lease)
        self._decisions = self._decided()
        self._evolving: list[Evolving] = []
        self._hurry = False
        self._too_many: StateError | None = None
        self._anew = bool(session.option("from_start", False))
        """``--from-start``: forget what the flow did; a new incarnation begins."""

    # --- one attempt -------------------------------------------------------------------------------

    def attempt(self) -> str:
        """Run from the last checkpoint; ``finished``, ``stopped`` or ``again``. Raises what ended it otherwise."""
        self._mailbox, self._evolving = Mailbox(self.session, self.lease), []
        self._decisions = self._decided()
        self.status.state = "starting"
        checkpoint, fresh = self._load()
        builder = self.builder = Builder(
            self.session,
            self.region,
            checkpoint,
            self.lease.token,
            self._mailbox.mail,
            self._on_problem,
            self._request,
            self._evolve,
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
        self._mailbox.wake()

    def lanes(self) -> list[Lane]:
        """The lanes of the running attempt."""
        return (
            []
            if self.builder is None
            else [lane for lanes in list(self.builder.lanes.values()) for lane in list(lanes)]
        )

    def _load(self) -> tuple[Checkpoint, bool]:
        store, plan = self.session.store, self.session.plan
        found = None if self._anew else store.load(plan.name, self.region.name)
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
        if self.replaying is not None:
            for lane in builder.replays(self.replaying):
                lane.start()
                self._mailbox.call(lane, partial(builder.open, ChainPlan(lane.step), lane))
            self.replaying = None
        if fresh:
            made, _ = compose(checkpoint, self.session.plan, 0, [], builder.books, False)
            made.settled = True
            if self._anew:
                # Only now that everything has opened: what refuses to start anew leaves the old state as it was.
                self.session.store.reset(self.session.plan.name, self.region.name, self.lease.token)
                if self.region.name == min(self.session.part.layout.regions):
                    forget_former(self.session)
            self.session.store.commit(made, Changes(), self.lease.token)
            self._anew = False
            checkpoint = made
        for name, book in builder.books.items():
            book.committed(checkpoint.splits.get(name, ()))
        return checkpoint

    def _open_source(self, builder: Builder, chain: ChainPlan, checkpoint: Checkpoint, fresh: bool) -> None:
        step = self.session.plan.steps[chain.head]
        first = builder.source(chain, 0)
        first.start()
        if fresh:
            self._mailbox.call(first, lambda: self._create(first, checkpoint))
        self._mailbox.call(first, lambda: builder.open(chain, first))
        self._mailbox.call(first, lambda: _list_splits(first))
        cap = first.driver.component.spec.lanes
        wanted = self.session.source_lanes(step, first.book.waiting())
        for number in range(1, wanted if cap is None else min(cap, wanted)):
            lane = builder.source(chain, number)
            lane.start()
            self._mailbox.call(lane, partial(builder.open, chain, lane))

    def _open_inner(
        self, builder: Builder, chain: ChainPlan, lane: InnerLane, checkpoint: Checkpoint, fresh: bool
    ) -> None:
        if isinstance(lane, SinkLane):
            if fresh:
                self._mailbox.call(lane, lambda: self._create(lane, checkpoint))
            lane.resume(checkpoint.epoch)
        self._mailbox.call(lane, lambda: builder.open(chain, lane))
        if isinstance(lane, SinkLane):
            held = self._mailbox.call(lane, lambda: _recovered(lane))
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
        made = None
        if is_overridden(component, "on_created"):
            with blamed(lane.step):
                made = bind(component, "on_created")({"ctx": lane.driver.ctx})
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
        crash.point("recovery")
        self._decisions.commit(self._first_sinks(builder), checkpoint)
        self._decisions.acknowledge(self._sources(builder), checkpoint, None, {})
        self._decisions.settle(wait=True)

    # --- the epochs --------------------------------------------------------------------------------

    def _run(self, builder: Builder) -> str:
        assert self.checkpoint is not None
        sources = self._sources(builder)
        if self.checkpoint.finished and self._exhausted(builder):
            self.nothing_new = True
            return "finished"
        self.status.state = "running"
        # A split found since the last epoch is not read before an epoch holds where it starts.
        self._hurry = any(book.changed for book in builder.books.values())
        crash.point("opened")
        for source in sources:
            source.release()
        next_epoch = time.monotonic() + self._interval()
        while True:
            why = self._wait(builder, next_epoch)
            if why == "end" and self.checkpoint.finished and not self._news(builder):
                self.nothing_new = True  # a source had to look for new splits before this could be told
                return "finished"
            if why in ("stop", "again"):
                self._quiet(sources)
            last = why == "end" or (why == "stop" and self.session.final.is_set())
            if last or self._evolving or self._news(builder):
                self._epoch(builder, last)
            next_epoch = time.monotonic() + self._interval()
            self._answer(builder, sources)
            if self._too_many is not None:
                raise self._too_many
            if last or why == "stop":
                self._decisions.settle(wait=True)
                return "finished" if last else "stopped"
            if why == "again":
                self._decisions.settle(wait=True)
                self._edit()
                self.replaying, self.replay_wanted = self.replay_wanted, None
                return "again"

    def _wait(self, builder: Builder, next_epoch: float) -> str:
        """Until there is a reason for an epoch: ``interval``, ``end``, ``stop``, ``again`` or ``asked``."""
        while True:
            self._decisions.settle()
            if self.session.stopping.is_set():
                self.status.state = "stopping"
                return "stop"
            if self._exhausted(builder):
                return "end"
            if self.edits or self.replay_wanted:
                return "again"
            if self._evolving or self.wanted or self._hurry or builder.bound.full:
                self._hurry = False
                return "asked"
            left = next_epoch - time.monotonic()
            if left <= 0:
                return "interval"
            self._mailbox.next(min(left, POLL) if self._decisions.pending else left)

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
                self._mailbox.call(source, source.finish)
        barrier = Barrier(epoch, last)
        crash.point("barrier")
        by_lane = {source: source.inject(barrier) for source in sources}
        builder.bound.reset()
        for source in sources:
            source.inbox.wake()
        reports = [*by_lane.values(), *self._collect(builder, epoch)]
        made, changes = compose(self.checkpoint, self.session.plan, epoch, reports, builder.books, last)
        for sink in self._sinks(builder):
            sink.decided()
        crash.point("commit-point")
        self.session.store.commit(made, changes, self.lease.token)
        crash.point("decided")
        before, self.checkpoint = self.checkpoint, made
        self._tally(reports, changes)
        self._check_rejects(made)
        self.status.epoch, self.status.committed_at = epoch, made.committed_at
        for name, book in builder.books.items():
            book.committed(made.splits[name])
        self._decisions.commit(self._first_sinks(builder), made)
        self._decisions.acknowledge(sources, made, before, by_lane)
        self._decisions.settle()

    def _collect(self, builder: Builder, epoch: int) -> list[Report]:
        """The reports of every lane behind a channel. Raises what a lane failed with."""
        missing = {lane.id for lane in self.lanes() if isinstance(lane, InnerLane)}
        reports: list[Report] = []
        while missing:
            report = self._mailbox.next(POLL)
            if report is not None and report.epoch == epoch:
                missing.discard(report.lane)
                reports.append(report)
        return reports

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
        if not edits:
            return
        assert self.checkpoint is not None
        made, _ = compose(self.checkpoint, self.session.plan, self.checkpoint.epoch + 1, [], {}, False)
        made.tokens, made.snapshots = self.checkpoint.tokens, self.checkpoint.snapshots
        made.keyed, made.state_versions = self.checkpoint.keyed, self.checkpoint.state_versions
        made.settled, made.guarantee = True, [*made.guarantee, f"edited at {made.epoch}"]
        done: list[Edit] = []
        for edit in edits:
            state = next((state for state in made.splits.get(edit.step, ()) if state.id == edit.split), None)
            if state is None:
                edit.future.set_exception(
                    StateError.of("state.unknown_split", f"`{edit.step}` has no split `{edit.split}`")
                )
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
        self._mailbox.deadline()
        for source in sources:
            while source.driver.replay == "none" and source.busy:
                self._mailbox.next(POLL)
        for source in sources:
            source.hold()

    def _check_rejects(self, made: Checkpoint) -> None:
        """Too many refused rows stop the flow, once they are safe in the store."""
        most = self.session.option("max_rejects", None)
        refused = sum(counts.rejected for counts in made.counts.values())
        if most is not None and refused > most:
            self._too_many = StateError.of(
                "run.too_many_rejects",
                f"{refused} rows were refused, the flow allows {most}",
                fix="look at them with `dataflare dlq list`, mend the cause, replay them, or raise `max_rejects`",
            )

    def _interval(self) -> float:
        return float(self.session.plan.checkpoint.get("interval") or 1.0)

    def _exhausted(self, builder: Builder) -> bool:
        return all(source.book.exhausted() for source in self._sources(builder))

    def _sources(self, builder: Builder) -> list[SourceLane]:
        return [lane for lanes in builder.lanes.values() for lane in lanes if isinstance(lane, SourceLane)]

    def _sinks(self, builder: Builder) -> list[SinkLane]:
        return [lane for lanes in builder.lanes.values() for lane in lanes if isinstance(lane, SinkLane)]

    def _first_sinks(self, builder: Builder) -> dict[str, SinkLane]:
        return {lane.step: lane for lane in self._sinks(builder) if lane.number == 0}

    def _decided(self) -> Decisions:
        return Decisions(self.session, self.region.name, self.lease.token, self._mailbox, self.status)

    def _tally(self, reports: list[Report], changes: Changes) -> None:
        for letter in changes.letters:
            codes = self.rejects.setdefault(letter.step, {})
            codes[letter.code] = codes.get(letter.code, 0) + letter.count
        for report in reports:
            for step, counts in report.counts.items():
                self.written.setdefault(step, Counts()).add(counts)

    def _on_problem(self, problem: Problem | None) -> None:
        self.status.problem = problem

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


def _recovered(lane: SinkLane) -> int | None:
    """The last epoch that a sink's target holds, where it can tell. In the lane's thread."""
    with blamed(lane.step):
        held: int | None = lane.driver.recover()
    return held
