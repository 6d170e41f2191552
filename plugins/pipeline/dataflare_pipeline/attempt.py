"""One attempt of a region: opens its lanes, drives its epochs, and commits them in the one safe order.

The order is the engine's alone: every sink has prepared → the store holds the epoch (the commit point) → the sinks
commit → the sources are told → the epoch is settled. Barrier e + 1 goes in only after that.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from dataflare import crash
from dataflare.checkpoint import Changes, Checkpoint
from dataflare.errors import Problem
from dataflare_pipeline import migrate
from dataflare_pipeline.asked import Edit, Leave, Replay, Swap, Sync
from dataflare_pipeline.build import Builder
from dataflare_pipeline.carried import Carried, carried_again, carried_anew, carried_back, carried_on
from dataflare_pipeline.channel import Barrier
from dataflare_pipeline.decide import Decisions
from dataflare_pipeline.epoch import compose, edited, made_with, without_rows
from dataflare_pipeline.evolving import Evolution, decide
from dataflare_pipeline.exchange import Exchange
from dataflare_pipeline.former import forget_former
from dataflare_pipeline.inner_lane import InnerLane
from dataflare_pipeline.lane import Lane, Report
from dataflare_pipeline.opening import Opening
from dataflare_pipeline.prepared_before import commit_former
from dataflare_pipeline.proof import prove
from dataflare_pipeline.replay import Wanted
from dataflare_pipeline.sink_lane import SinkLane
from dataflare_pipeline.source_lane import READ_FOR, SourceLane
from dataflare_pipeline.uncollected import forget
from dataflare_pipeline.waiting import POLL, Mailbox

if TYPE_CHECKING:
    from dataflare_pipeline.region import RegionRun
    from dataflare_pipeline.trial import Trial

log = logging.getLogger("dataflare.pipeline")
GRACE = 10.0
ABORT_GRACE = 2.0
ABANDON_AFTER = 1.0
"""Seconds after which a call that still runs is ended from outside, where that can be done."""


class Attempt:
    """From one checkpoint to the next end, stop or failure."""

    def __init__(self, region: RegionRun, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._region = region
        self._session = region.session
        self._store, self._plan = region.session.store, region.session.plan
        self._token = region.lease.token
        self._status = region.status
        self._requests = region.requests
        self._hurry = False
        self._held_since = time.monotonic()
        self._mailbox = Mailbox(region.session, region.lease, region.trial)
        self._evolution = Evolution(self.wake)
        self._decisions = Decisions(
            region.session, region.region.name, region.lease.token, self._mailbox, region.status
        )
        self.builder = Builder(
            region.session,
            region.region,
            checkpoint,
            region.lease.token,
            self._mailbox.mail,
            self._on_problem,
            self._request,
            self._evolution.ask,
        )

    def run(self) -> str:
        """``finished``, ``stopped``, or ``again``: for edited positions, letters to replay, a swap, a rest."""
        done = commit_former(self.builder, self._mailbox, self._decisions)
        self.builder.inner()
        self._open(done)
        return self._epochs()

    def wake(self) -> None:
        """Look around now. From any thread."""
        self._mailbox.wake()

    def lanes(self) -> list[Lane]:
        """Every lane. From any thread."""
        return [lane for lanes in list(self.builder.lanes.values()) for lane in list(lanes)]

    def carried(self, trial: Trial | None) -> Carried | None:
        """The keyed state that the next attempt can go on with; all lanes have ended. ``trial``: taken back."""
        if trial is not None and trial.exchange is not None:
            return carried_back(trial.exchange, self.checkpoint)
        going = trial or self._region.trial
        own = () if going is None else going.changed()
        lanes = [lane for lane in self.lanes() if lane.step not in own]
        found = carried_on(lanes, self.checkpoint, trial is not None)
        if going is None or going.swap.exchange is None:
            return found
        if trial is None:
            return carried_anew(found, going.swap.exchange, self)
        return carried_again(found, going.swap.exchange, self.lanes())

    def leave_target(self) -> None:
        """Somebody else owns the region: what stands in the targets may be theirs, so nothing is undone there."""
        for sink in self._sinks():
            sink.may_abort = False

    def shut(self) -> list[str]:
        """End every lane: wake all, wait for their threads. The lanes whose component does not return."""
        self.builder.cancel.set()
        lanes = self.lanes()
        for lane in lanes:
            lane.close()
        began = time.monotonic()
        left: list[str] = []
        for lane in lanes:
            if lane.ident is not None:
                while lane.is_alive() and time.monotonic() - began < self._grace():
                    lane.join(POLL)
                    if time.monotonic() - began > ABANDON_AFTER:
                        lane.abandon()
                if lane.is_alive():
                    log.error("`%s` does not return from its component; it is left behind", lane.id)
                    left.append(lane.id)
                    if isinstance(lane, SinkLane):
                        lane.may_abort = False  # by the time it returns, another run may have gone on
        return left

    def _grace(self) -> float:
        """Seconds that a component has to return; somebody who asks to leave at once may ask while this is waited."""
        grace = float(self._session.option("grace", GRACE))
        return min(grace, ABORT_GRACE) if self._session.aborting.is_set() else grace

    # --- opening -----------------------------------------------------------------------------------

    def _open(self, done: frozenset[str]) -> None:
        """Open everything, carry out what was decided before, commit what new steps made before the first read.

        ``done``: sinks that have committed it.
        """
        region, first = self._region, not self.checkpoint.committed_at
        if region.replaying is not None:
            region.replaying = region.replaying.fixed(self._store, self._plan, region.region.steps)
        opening = Opening(self._session, self.builder, self._mailbox, region.carried, region.trial is not None)
        opening.lanes(region.replaying)
        made = {**self.checkpoint.made, **opening.made}
        if first:
            self.checkpoint, _ = compose(self.checkpoint, self._plan, 0, [], self.builder.books, False)
            self.checkpoint.made, self.checkpoint.settled = made, True
            self.checkpoint.made_with = made_with(self._plan, made)
            if region.anew:
                # Only now that everything has opened: what refuses to start anew leaves the old state as it was.
                self._store.reset(self._plan.name, region.region.name, self._token)
                crash.point("reset")
                if region.region.name == min(self._session.part.layout.regions):
                    forget_former(self._session)
            self._store.commit(self.checkpoint, Changes(), self._token)
            region.anew = False
        else:
            self._recover(done)
            if opening.made:
                self.checkpoint = without_rows(
                    self.checkpoint, self._plan, made=made, made_with=made_with(self._plan, made)
                )
                self._store.commit(self.checkpoint, Changes(), self._token)
                for sink in self._sinks():
                    self._mailbox.call(sink, partial(sink.resume, self.checkpoint.epoch))
        self._tell_epoch()
        for name, book in self.builder.books.items():
            book.committed(self.checkpoint.splits.get(name, ()))

    def _recover(self, done: frozenset[str]) -> None:
        """What was decided before the last end is carried out first: commit, acknowledge, settle."""
        self._tell_epoch()
        if self.checkpoint.settled:
            return
        crash.point("recovery")
        left = {step: tokens for step, tokens in self.checkpoint.tokens.items() if step not in done}
        self._decisions.commit(self._first_sinks(), replace(self.checkpoint, tokens=left))
        self._decisions.acknowledge(self._sources(), self.checkpoint, None, {})
        self._decisions.settle(wait=True)

    # --- the epochs --------------------------------------------------------------------------------

    def _epochs(self) -> str:
        older = migrate.older(self.checkpoint, self._plan)
        if older and self._region.trial is None:  # on trial, nothing may be committed before it has proved itself
            # In an epoch of its own: what runs from here on finds everything in today's form, or all as it was.
            log.info("taking over the state of an older version of %s", ", ".join(older))
            crash.point("migrate")
            self._epoch(False, still=True, finished=self.checkpoint.finished and self._exhausted())
        if self._session.option("migrate", False):
            self._decisions.settle(wait=True)
            return "stopped"
        if self.checkpoint.finished and self._exhausted():
            self._region.nothing_new = True
            return "finished"
        self._status.state, self._status.problem = "running", None
        # A split found since the last epoch is not read before an epoch holds where it starts.
        self._hurry = any(book.changed for book in self.builder.books.values())
        crash.point("opened")
        self._release()
        while True:
            why = self._wait(time.monotonic() + float(self._plan.checkpoint.get("interval") or 1.0))
            if why == "swap":
                self._exchange()
                continue
            if why == "end" and self.checkpoint.finished and not self._news():
                self._region.nothing_new = True  # a source had to look for new splits before this could be told
                return "finished"
            leaving = why in ("stop", "again")
            if leaving:
                self._held_since = time.monotonic()
                self._quiet()
                crash.point("drain")
            last = why == "end" or (why == "stop" and self._session.final.is_set())
            self._sync(last, evolve=not leaving)
            if last or leaving:
                self._decisions.settle(wait=True)
            if last or why == "stop":
                return "finished" if last else "stopped"
            if why == "again":
                if self._changed():
                    return "again"
                self._release()

    def _wait(self, next_epoch: float) -> str:
        """Until there is a reason for an epoch: ``interval``, ``end``, ``stop``, ``swap``, ``again``, ``asked``."""
        while True:
            self._decisions.settle()
            if self._session.stopping.is_set():
                self._status.state = "stopping"
                return "stop"
            if (swap := self._requests.first(Swap)) is not None:
                here = swap.exchange is not None and swap.exchange.in_place and swap.exchange.attempt is self
                return "swap" if here else "again"
            if self._requests.any(Edit, Replay, Leave):
                return "again"
            if self._exhausted():
                return "end"
            untried = self._untried()
            asked = self._evolution.waiting or self._requests.any(Sync) or self._hurry
            if self.builder.bound.full or (asked and not untried):
                self._hurry = False
                return "asked"
            left = POLL if untried else next_epoch - time.monotonic()
            if left <= 0:
                return "interval"
            self._mailbox.next(min(left, POLL) if self._decisions.pending else left)

    def _untried(self) -> bool:
        """Is there a version on trial that had nothing to do yet? Its epoch says nothing before that."""
        trial = self._region.trial
        return trial is not None and not trial.tried(self.lanes())

    def _sync(self, last: bool = False, *, evolve: bool = True) -> None:
        """An epoch, where there is anything to keep; then the answers to those who had asked before it began."""
        asked = self._requests.take(Sync)
        evolving = self._evolution.take() if evolve else []
        try:
            if last or evolving or self._region.trial or self._news():
                self._epoch(last, still=bool(evolving))
        except BaseException:
            self._requests.back(asked)
            raise
        for request in asked:
            request.future.set_result({"epoch": self.checkpoint.epoch})
        self._region.check_rejects()
        if evolving:
            decide(self._session, self.builder, self._mailbox, evolving)
            for source in self._sources():
                source.go_on()

    def _exchange(self) -> None:
        """Where the next barrier passes, the lanes go on with another version: on trial until the one behind it."""
        for swap in self._requests.take(Swap):
            if swap.withdrawn():
                continue
            exchange: Exchange = swap.exchange
            trial = self._mailbox.trial = self._region.try_out(swap, time.monotonic(), exchange)
            self._epoch(False, still=False, exchange=exchange)
            exchange.epoch, trial.pause = self.checkpoint.epoch, exchange.seconds
            self._session, self._plan, self.builder = exchange.session, exchange.session.plan, exchange.builder

    def _agree(self, trial: Trial) -> None:
        """The version has proved itself here: wait for the other regions that try it out."""
        trial.vote()
        while not trial.swap.ballot.agreed:
            self._mailbox.next(POLL)

    def _epoch(self, last: bool, *, still: bool, finished: bool = False, exchange: Exchange | None = None) -> None:
        """One epoch, from its barrier to its acknowledgement. ``still``: nothing is delivered meanwhile.

        ``finished``: the flow was finished before and still is. ``exchange``: what begins where it ends.
        """
        epoch, sources = self.checkpoint.epoch + 1, self._sources()
        if still:
            for source in sources:
                source.hold()
        barrier = Barrier(epoch, last, None if exchange is None else exchange.turn)
        crash.point("barrier")
        by_lane = {source: source.inject(barrier) for source in sources}
        self.builder.bound.reset()
        for source in sources:
            source.inbox.wake()
        reports = [*by_lane.values(), *self._collect(epoch)]
        made, changes = compose(self.checkpoint, self._plan, epoch, reports, self.builder.books, last)
        trial = self._region.trial if exchange is None else None
        if trial is not None:
            trial.judge(reports)
        made = prove(self.checkpoint, made, [report.sums for report in reports], self.builder.operators)
        made.finished = last or finished
        if trial is not None:
            self._agree(trial)
        for sink in self._sinks():
            sink.decided()
        crash.point("commit-point")
        self._store.commit(made, changes, self._token)
        crash.point("decided")
        if (changed := self._region.changed) is not None:
            changed.put(list(changes.state))
        for listed in (changes.state, *(report.state for report in reports)):
            forget(listed)
        before, self.checkpoint = self.checkpoint, made
        if exchange is None:
            self._region.keep()
        self._region.tally(reports)
        self._tell_epoch()
        for name, book in self.builder.books.items():
            book.committed(made.splits[name])
        self._decisions.commit(self._first_sinks(), made)
        self._decisions.acknowledge(sources, made, before, by_lane)
        self._decisions.settle()

    def _collect(self, epoch: int) -> list[Report]:
        """The reports of every lane behind a channel. Raises what a lane failed with."""
        missing = {lane.id for lane in self.lanes() if isinstance(lane, InnerLane)}
        reports: list[Report] = []
        while missing:
            report = self._mailbox.next(POLL)
            if report is not None and report.epoch == epoch:
                missing.discard(report.lane)
                reports.append(report)
        return reports

    def _quiet(self) -> None:
        """No more deliveries; rows already taken from a source that cannot replay go out first."""
        sources = self._sources()
        for source in sources:
            source.pause()
        until = time.monotonic() + 10 * READ_FOR  # a source that reads for longer is not waited for
        for source in sources:
            while source.driver.replay == "none" and (source.busy or (source.reading and time.monotonic() < until)):
                if self._evolution.waiting or self.builder.bound.full:
                    self._sync()
                else:
                    self._mailbox.next(POLL)
        for source in sources:
            source.hold()

    def _changed(self) -> bool:
        """Carry out edits and take on replays, which need a new attempt; False where there was nothing to do."""
        return any([self._edited(), self._replayed(), self._swapped(), self._left()])

    def _edited(self) -> bool:
        edits = self._requests.take(Edit)
        made, done = edited(self.checkpoint, self._plan, edits)
        if made is None:
            return False
        try:
            self._store.commit(made, Changes(), self._token)
        except BaseException:
            self._requests.back(done)
            raise
        self.checkpoint = made
        self._tell_epoch()
        for edit in done:
            edit.future.set_result({"epoch": made.epoch})
        return True

    def _swapped(self) -> bool:
        """Try out the swap that is asked for; there is one at a time."""
        swaps: list[Swap] = [swap for swap in self._requests.take(Swap) if not swap.withdrawn()]
        for swap in swaps:
            self._region.try_out(swap, self._held_since)
        return bool(swaps)

    def _left(self) -> bool:
        """Is the region to come to rest? The lanes end, and it waits for whoever asked."""
        for leave in self._requests.take(Leave):
            if not leave.back.done():
                last = max((sink.wrote for sink in self._sinks()), default=0.0)
                self._region.leaving, self._region.still_since = leave, max(self._held_since, last)
        return self._region.leaving is not None

    def _replayed(self) -> bool:
        requests, region = self._requests.take(Replay), self._region
        try:
            found = [list(each.wanted.letters(self._store, self._plan, region.region.steps)) for each in requests]
        except BaseException:
            self._requests.back(requests)
            raise
        ids = frozenset(letter.id for letters in found for letter in letters)
        # What an earlier replay has not come to yet is gone on with.
        region.replaying = Wanted(ids=ids | (region.replaying.ids or ids if region.replaying else ids))
        for request, letters in zip(requests, found, strict=True):
            request.future.set_result({"letters": len(letters), "rows": sum(letter.count for letter in letters)})
        return bool(ids)

    # --- small things -------------------------------------------------------------------------------

    def _request(self) -> None:
        self._hurry = True
        self.wake()

    def _release(self) -> None:
        if (trial := self._region.trial) is not None:
            trial.running()
        for source in self._sources():
            source.release()
        self._region.reading.set()
        self._region.reads_again()

    def _tell_epoch(self) -> None:
        self._status.epoch, self._status.committed_at = self.checkpoint.epoch, self.checkpoint.committed_at

    def _on_problem(self, problem: Problem | None) -> None:
        self._status.problem = problem

    def _news(self) -> bool:
        """Has anything changed since the last barrier that an epoch would keep?"""
        books = self.builder.books.values()
        return any(lane.has_news() for lane in self.lanes()) or any(book.changed for book in books)

    def _exhausted(self) -> bool:
        return all(source.book.exhausted() for source in self._sources())

    def _sources(self) -> list[SourceLane]:
        return [lane for lane in self.lanes() if isinstance(lane, SourceLane)]

    def _sinks(self) -> list[SinkLane]:
        return [lane for lane in self.lanes() if isinstance(lane, SinkLane)]

    def _first_sinks(self) -> dict[str, SinkLane]:
        return {lane.step: lane for lane in self._sinks() if lane.number == 0}
