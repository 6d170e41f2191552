"""One region over all its attempts: what the run has written so far, what people ask of it, what it replays."""

from __future__ import annotations

import logging
import queue
import threading

from dataflare import crash
from dataflare.checkpoint import Checkpoint, StateChange
from dataflare.errors import Fenced, StateError
from dataflare_host.layout import Region
from dataflare_pipeline.asked import Answer, Leave, Requests, Swap
from dataflare_pipeline.attempt import Attempt
from dataflare_pipeline.carried import Carried
from dataflare_pipeline.epoch import check_fits, first_checkpoint
from dataflare_pipeline.exchange import Exchange
from dataflare_pipeline.lane import Lane, Report
from dataflare_pipeline.lease import Lease
from dataflare_pipeline.operator import ProcessorOp
from dataflare_pipeline.replay import Wanted
from dataflare_pipeline.session import Session, Status
from dataflare_pipeline.thresholds import Rejects
from dataflare_pipeline.trial import Trial
from dataflare_pipeline.work import Counts

log = logging.getLogger("dataflare.pipeline")


class RegionRun:
    """The leader of one region; ``attempt`` runs it once from its last checkpoint."""

    def __init__(self, session: Session, region: Region, lease: Lease, rejects: Rejects) -> None:
        self.session = session
        self.region = region
        self.lease = lease
        self._rejects = rejects
        self.status = Status()
        self.requests = Requests(session.plan.name)
        self.current: Attempt | None = None
        self.written: dict[str, Counts] = {}
        """Rows of this run, by step, of committed epochs."""
        self.rejects: dict[str, dict[str, int]] = {}
        """Rows of this run that were refused, by step and code."""
        self.nothing_new = False
        self.left_behind: list[str] = []
        """Lanes whose component did not return when the attempt ended: another attempt would be a second instance."""
        replay = session.option("replay", None)
        self.replaying = None if replay is None else Wanted.of(replay)
        """Dead letters that the next attempt replays."""
        self.anew = bool(session.option("from_start", False))
        """``--from-start``: forget what the flow did; a new incarnation begins."""
        self.trial: Trial | None = None
        """A new generation of components that has not proved itself yet."""
        self.leaving: Leave | None = None
        """Somebody wants the region at rest, and waits for it."""
        self.still_since = 0.0
        """When the sources were held for the last rest, or a sink took the last rows (monotonic seconds)."""
        self.reading = threading.Event()
        """An attempt has opened everything, and reads."""
        self.carried: Carried | None = None
        """The keyed state that the attempt before has left in memory."""
        self.returning: Trial | None = None
        """What was taken back, until the older generation reads again."""
        self.changed: queue.SimpleQueue[list[StateChange]] | None = None
        """Keys that epochs changed, in their order, while somebody wants to know."""
        self._shown: tuple[dict[str, Counts], Attempt | None] = ({}, None)
        self._failed = False

    def attempt(self) -> str:
        """Run from the last checkpoint; ``finished``, ``stopped`` or ``again``. Raises what ended it otherwise."""
        self.status.state = "starting"
        if self._failed:
            self.lease.renew()
        self._failed = True
        attempt = self.current = Attempt(self, self._load())
        trial, returning = None, self.returning
        self._shown = self._committed(), attempt
        try:
            ending = attempt.run()
        except Fenced:
            attempt.leave_target()
            raise
        except BaseException as error:
            if self.lease.is_taken():
                # It may have failed because the newer owner cleans up after it: no step is to blame.
                attempt.leave_target()
                raise self.lease.fenced() from error
            if self.trial is None or self.session.aborting.is_set() or self.trial.swap.ballot.sealed:
                raise
            if self.trial.foreign:
                self.trial.give_up(error, self.uncommitted())
                raise
            trial, ending = self.trial, "again"
            self._roll_back(trial, error)
        finally:
            if returning is not None:
                self.reads_again()
            self.carried = None
            self.reading.clear()
            self.left_behind = attempt.shut()
            self._shown = self._committed(), None
        if ending == "again" and not self.left_behind:
            self.carried = attempt.carried(trial)
        self.returning = trial
        if ending == "again" and self.left_behind:
            self.reads_again()
            raise StateError.of(
                "run.left_behind",
                f"`{self.left_behind[0]}` does not return from its component, so the flow cannot go on in this process",
                fix="run it again: it goes on from its last epoch",
            )
        self._failed = False
        return ending

    def rest(self, leave: Leave) -> bool:
        """At rest until it is known who goes on: True, it is this process; its lease is its own again."""
        self.leaving = None
        self.lease.lend()
        assert self.current is not None
        held = self.current.checkpoint
        told: Answer = {"epoch": held.epoch, "incarnation": held.incarnation, "since": self.still_since}
        told["token"] = self.lease.token
        crash.point("rest")
        leave.future.set_result(told)
        if not leave.back.result():
            return False
        self.lease.take_back()
        return True

    @property
    def tried_elsewhere(self) -> bool:
        """Is it on trial, and another process waits to take it back?"""
        return self.trial is not None and self.trial.foreign

    def ended(self) -> None:
        """It has ended well: what was on trial, and had nothing more to do here, stays."""
        if self.trial is not None:
            self.trial.vote()
            self.keep()

    def try_out(self, swap: Swap, began: float, exchange: Exchange | None = None) -> Trial:
        """Other components run from here on, on trial: in these lanes by the exchange, or in the next attempt's."""
        self.trial = Trial(swap, self.session, self._committed(), began, exchange)
        self.session = swap.session
        return self.trial

    def keep(self) -> None:
        """An epoch was committed: what was on trial stays."""
        trial, self.trial = self.trial, None
        if trial is not None:
            trial.keep()

    def reads_again(self) -> None:
        """An attempt reads, or does not come to that: whoever asked for what was taken back is told so."""
        returning, self.returning = self.returning, None
        if returning is not None:
            returning.taken_back()

    def _roll_back(self, trial: Trial, error: BaseException) -> None:
        """Go back to the generation before."""
        self.trial = None
        log.warning("`%s` is taken back: %s", trial.swap.plugin, error)
        lost = self.uncommitted()
        self.session = trial.before
        trial.roll_back(error, lost)

    def uncommitted(self) -> int:
        """Rows that sources gave and no epoch holds. From any thread."""
        held, steps = self._committed(), self.session.plan.steps
        return sum(
            counts.rows_out - held.get(name, Counts()).rows_out
            for name, counts in self.counts().items()
            if steps[name].kind == "source"
        )

    def operators(self, step: str) -> list[ProcessorOp]:
        """The operators of a step in the lanes of the last attempt. From any thread."""
        found = [operator for lane in self.lanes() for operator in lane.operators()]
        return [operator for operator in found if operator.step == step]

    def wake(self) -> None:
        """Look around now. From any thread."""
        if self.current is not None:
            self.current.wake()

    def lanes(self) -> list[Lane]:
        """The lanes of the last attempt."""
        return [] if self.current is None else self.current.lanes()

    def counts(self) -> dict[str, Counts]:
        """Rows of this run by step, those included that no epoch holds yet. From any thread."""
        committed, attempt = self._shown
        total = {step: counts.copy() for step, counts in committed.items()}
        for lane in () if attempt is None else attempt.lanes():
            for step, found in list(lane.live.items()):
                total.setdefault(step, Counts()).add(found)
        return total

    def tally(self, reports: list[Report]) -> None:
        """Count what an epoch committed."""
        self._rejects.add(reports)
        for report in reports:
            for letter in report.letters:
                codes = self.rejects.setdefault(letter.step, {})
                codes[letter.code] = codes.get(letter.code, 0) + letter.count
            for step, counts in report.counts.items():
                self.written.setdefault(step, Counts()).add(counts)

    def check_rejects(self) -> None:
        """Raise StateError where this run refused more rows than the flow or a step allows; they are in the store."""
        problem = self._rejects.problem()
        if problem is not None:
            raise StateError(problem)

    def _load(self) -> Checkpoint:
        store, plan = self.session.store, self.session.plan
        found = None if self.anew else store.load(plan.name, self.region.name)
        if found is None:
            return first_checkpoint(plan, self.region, self.session.part.layout)
        check_fits(found, plan, self.region)
        return found

    def _committed(self) -> dict[str, Counts]:
        return {step: counts.copy() for step, counts in self.written.items()}
