"""The trial of a new generation of components: from the barrier that they took over at to the next one.

Its end is *keep*; until then everything can be gone back on, since no epoch holds what the new ones did: that epoch is
aborted, and the flow goes on from the last one with the old generation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataflare.errors import Problem, StateError, problem_of
from dataflare_pipeline.asked import Swap
from dataflare_pipeline.epoch import version_of
from dataflare_pipeline.operator import allowed
from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.work import Counts

if TYPE_CHECKING:
    from dataflare_pipeline.exchange import Exchange
    from dataflare_pipeline.lane import Lane, Report
    from dataflare_pipeline.session import Session

MOST_REFUSED = 0.5
FEW, MANY = 0.1, 10.0
PATIENCE = 0.2
"""Of the probation: for so long rows are waited for."""
ENOUGH = 100
"""Rows from which on shares say something."""


@dataclass
class Trial:
    """A swap that is on trial. ``before``: what to go back to; ``usual``: rows of each step until now."""

    swap: Swap
    before: Session
    usual: dict[str, Counts]
    began: float
    """When sources were held (monotonic seconds)."""
    exchange: Exchange | None = None
    """Where the lanes stayed and only their operators changed."""
    pause: float | None = None
    foreign: bool = False
    """What to go back to is in another process, which waits for the end of this trial."""
    lanes: Callable[[], Iterable[Lane]] = tuple
    longest: Mapping[str, float] = field(default_factory=dict)
    """Of a ``foreign`` trial: its lanes, and seconds of the longest call of each step before."""
    voted: bool = False
    until: float = 0.0

    def __post_init__(self) -> None:
        self._problem: Problem | None = None
        self._replayed = 0
        self.until = time.monotonic() + self.before.probation

    def running(self) -> None:
        """Rows are read again."""
        if self.pause is None:
            self.pause = time.monotonic() - self.began

    def tried(self, lanes: Iterable[Lane]) -> bool:
        """Whether the new version has had rows to show what it does; or none came for long enough.

        A source whose rows are on their way through it has some: a barrier would pass a call that hangs there.
        """
        waited = time.monotonic() - self.began - (self.pause or 0.0)
        late = self.pause is not None and waited > PATIENCE * self.before.probation
        if self.exchange is not None:
            return self.exchange.tried() or (late and not self.exchange.busy())
        own = {name for name, step in self.swap.session.plan.steps.items() if step.plugin == self.swap.plugin}
        lanes = list(lanes)
        if not own & {step for lane in lanes for step in (lane.step, *(each.step for each in lane.operators()))}:
            return True
        for lane in lanes:
            counts = [found for step, found in list(lane.live.items()) if step in own]
            if any(found.rows_in or found.rows_out for found in counts):
                return True
            if lane.busy and own & {lane.step, *(operator.step for operator in lane.operators())}:
                return False
        return late

    def stood_still(self) -> None:
        """Of a ``foreign`` trial: the pause lasts until a source has delivered rows, where any came."""
        gave = [lane.gave for lane in self.lanes() if isinstance(lane, SourceLane) and lane.gave]
        if gave:
            self.pause = min(gave) - self.began

    def vote(self) -> None:
        """This region could commit now."""
        if not self.voted:
            self.voted = True
            self.swap.ballot.yes()

    def changed(self) -> set[str]:
        """The steps of which the form of the state is another one now."""
        old, new = self.before.plan, self.swap.session.plan
        return {step for step in new.steps if version_of(old, step) != version_of(new, step)}

    def check(self) -> None:
        """Raise StateError ``reload.timeout``, ``reload.stuck`` or ``reload.elsewhere`` where no epoch will come."""
        if self.swap.ballot.sealed:
            return
        self.swap.ballot.check()
        if self.exchange is not None and (step := self.exchange.stuck(self.before.patience)) is not None:
            raise StateError.of("reload.stuck", f"a call of `{step}` takes far longer than it ever did before")
        if self.foreign and (step := self._stuck()) is not None:
            raise StateError.of("reload.stuck", f"a call of `{step}` takes far longer than it ever did before")
        if time.monotonic() > self.until:
            raise StateError.of("reload.timeout", f"no epoch with the new `{self.swap.plugin}` was committed in time")

    def _stuck(self) -> str | None:
        """The step of which a call takes far longer than its calls did in the other process."""
        now = time.monotonic()
        for operator in (operator for lane in self.lanes() for operator in lane.operators()):
            since, usual = operator.since, self.longest.get(operator.step, 0.0)
            if since is not None and now - since > allowed(self.before.patience, usual):
                return operator.step
        return None

    def judge(self, reports: Iterable[Report]) -> None:
        """Raise StateError where the new version refuses or gives far more or less than the old one did."""
        found: dict[str, Counts] = {}
        for report in reports:
            for step, counts in report.counts.items():
                found.setdefault(step, Counts()).add(counts)
        plan = self.swap.session.plan
        for step, counts in found.items():
            whole = plan.steps[step].abilities.get("cardinality") == "one" and plan.steps[step].kind == "processor"
            if whole and counts.rows_out + counts.rejected + counts.dropped != counts.rows_in:
                message = (
                    f"`{step}` gives a row for each by its own word; it took {counts.rows_in}, gave {counts.rows_out}"
                )
                raise StateError.of("reload.output_ratio", message)
            usual = self.usual.get(step)
            if plan.steps[step].plugin != self.swap.plugin or usual is None or counts.rows_in < ENOUGH:
                continue
            refused, before = _share(counts.rejected, counts), _share(usual.rejected, usual)
            if refused > MOST_REFUSED and refused > MANY * before:
                raise StateError.of(
                    "reload.rejects", f"`{step}` refuses {refused:.0%} of its rows, {before:.0%} before"
                )
            given, before = _share(counts.rows_out, counts), _share(usual.rows_out, usual)
            if usual.rows_in >= ENOUGH and before > 0 and not FEW * before <= given <= MANY * before:
                message = f"`{step}` gives {given:.2f} rows for each it takes, {before:.2f} before"
                raise StateError.of("reload.output_ratio", message)

    def keep(self) -> None:
        """An epoch holds what the new generation did: it stays."""
        old, new = self.before, self.swap.session
        if self.exchange is not None:
            self.exchange.keep()
        elif self.swap.exchange is not None:
            self.swap.exchange.kept = True
        if not self.foreign and old.generation is not None and old.generation != new.generation:
            # An end of guests takes its time, and the epoch is not committed everywhere yet.
            threading.Thread(target=new.host.retire, args=(old.generation,), name="retire", daemon=True).start()
        self.stood_still()
        self._tell("kept", None, 0)

    def roll_back(self, error: BaseException, replayed: int) -> None:
        """The old generation goes on, once the lanes of the attempt have ended; ``replayed`` rows are read again."""
        if self.pause is not None:
            self.began = time.monotonic() - self.pause  # it has stood still so long, and does again
        self._replayed = replayed
        self.swap.ballot.no(str(error))
        if self.exchange is not None:
            self.exchange.abandon()
        self._problem = problem_of(error, "reload.failed")

    def give_up(self, error: BaseException, replayed: int) -> None:
        """The process that waits for the end of this trial goes on: tell it before the lanes end, which may last."""
        self.swap.ballot.no(str(error))
        self._tell("rolled_back", problem_of(error, "reload.failed").as_json(), replayed)

    def taken_back(self) -> None:
        """The old generation reads again."""
        assert self._problem is not None
        self.pause = time.monotonic() - self.began
        threading.Thread(target=self._release, name="release", daemon=True).start()
        self._tell("rolled_back", self._problem.as_json(), self._replayed)

    def _release(self) -> None:
        """End the guests of the new version."""
        from dataflare.hosting import release

        plan = self.swap.session.plan
        steps = [step.name for step in plan.steps.values() if step.plugin == self.swap.plugin]
        release(type(self.swap.session.component(step)) for step in steps)

    def _tell(self, outcome: str, problem: object, replayed: int) -> None:
        pause = self.pause if self.pause is not None else time.monotonic() - self.began
        told = {"outcome": outcome, "problem": problem, "pause_ms": round(pause * 1000, 1), "replayed": replayed}
        if not self.swap.future.done():
            self.swap.future.set_result(told)


def _share(part: int, whole: Counts) -> float:
    return part / whole.rows_in if whole.rows_in else 0.0
