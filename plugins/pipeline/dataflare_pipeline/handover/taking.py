"""Going on with what another process has come to rest at: its leases by their tokens, its counts, on trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from dataflare_pipeline.asked import Answer, Swap
from dataflare_pipeline.ballot import Ballot
from dataflare_pipeline.shared import StepMetrics
from dataflare_pipeline.trial import Trial
from dataflare_pipeline.work import Counts

if TYPE_CHECKING:
    from dataflare.checkpoint import StateChange
    from dataflare_pipeline.handover.beforehand import Beforehand
    from dataflare_pipeline.region import RegionRun

Json = Any


class Taking:
    """What a runner takes over: ``rest`` is what ``Leaving.rest`` told, ``changes`` what epochs changed meanwhile."""

    def __init__(
        self, ready: Beforehand, rest: Mapping[str, Json], changes: Mapping[str, Sequence[StateChange]]
    ) -> None:
        self.started = float(rest["started"])
        self.futures: dict[str, Future[Answer]] = {name: Future() for name in rest["regions"]}
        """What came of each region's trial."""
        self._ready = ready
        self._regions = rest["regions"]
        self._changes = changes
        self._ballot = Ballot(ready.plugin, len(self._regions))
        for step, values in rest["metrics"].items():
            ready.session.metrics.setdefault(step, StepMetrics()).values.update(values)

    def take(self, run: RegionRun) -> None:
        """Take one region. Raises Fenced where somebody else was quicker."""
        name, session = run.region.name, self._ready.session
        told = self._regions[name]
        run.written = {step: Counts(*counts) for step, counts in told["counts"].items()}
        run.rejects = {step: dict(codes) for step, codes in told["rejects"].items()}
        swap = Swap(session, self._ready.plugin, self._ballot, future=self.futures[name])
        usual = {step: counts.copy() for step, counts in run.written.items()}
        run.trial = Trial(swap, session, usual, float(told["since"]), foreign=True, longest=told["longest"])
        run.trial.lanes = run.lanes
        self._ready.state.follow(self._changes[name])
        run.carried = self._ready.state.carried(name, told["incarnation"], told["epoch"])
        run.lease.take(int(told["token"]))

    def result(self) -> Answer:
        """What came of all regions: one outcome, the longest pause. All ``futures`` are done."""
        answers = [future.result() for future in self.futures.values()]
        failed = [answer for answer in answers if answer["outcome"] != "kept"]
        own = [answer for answer in failed if answer["problem"]["code"] != "reload.elsewhere"]
        first = next(iter(own or failed or answers))
        worst = max(answer["pause_ms"] for answer in answers)
        return {**first, "pause_ms": worst, "replayed": sum(answer["replayed"] for answer in answers)}
