"""A sink lane: begins an epoch with its first row, prepares it at the barrier, commits when the region says so."""

from __future__ import annotations

import queue
import time

from dataflare import crash
from dataflare.batch import Batch, Rejected
from dataflare.context import Context
from dataflare.digest import digest
from dataflare.drive import SinkDriver
from dataflare.schema import Schema
from dataflare.split import Json
from dataflare_host.kinds import Budget
from dataflare_pipeline.chain import Chain
from dataflare_pipeline.channel import Barrier, Parcel, Port
from dataflare_pipeline.guard import Guard
from dataflare_pipeline.inner_lane import InnerLane
from dataflare_pipeline.lane import Mail, Report, log
from dataflare_pipeline.operator import Aligned
from dataflare_pipeline.policy import blamed
from dataflare_pipeline.work import Counts, Refusal, Sum, Work


class SinkLane(InnerLane):
    """One instance of a sink. Rows of epoch e + 1 are written only after ``prepare(e)``."""

    def __init__(
        self,
        step: str,
        number: int,
        mail: queue.SimpleQueue[Mail],
        driver: SinkDriver,
        context: Context,
        guard: Guard,
        refusal: Refusal,
        budget: Budget,
    ) -> None:
        super().__init__(step, number, Chain([], {}), mail)
        self.driver = driver
        self.context = context
        self.prepared: tuple[int, Json] | None = None
        """The epoch that is prepared and not decided, and its token."""
        self.may_abort = True
        """False once this runner is fenced: what stands in the target may be a newer one's."""
        self.wrote = 0.0
        """When it took rows last (monotonic seconds)."""
        self._epoch = 0
        self._begun = False
        self._guard = guard
        self._refusal = refusal
        self._aligned_to = Aligned({})
        self._budget = budget
        self.owns(driver)

    def plan(self, schema: Schema) -> None:
        """Plan this instance for the schema of its input, which only grows. In the lane's thread."""
        known = self._aligned_to.schemas.get("")
        wider = schema if known is None else known.union(schema)
        if known is None or not wider.arrow.equals(known.arrow):
            self._aligned_to.schemas[""] = wider
            self._guard.once(lambda: self.driver.plan(wider))

    def resume(self, epoch: int) -> None:
        """The last decided epoch is ``epoch``: what comes belongs to the next one. In the lane's thread."""
        self._epoch = self.context.epoch = epoch + 1

    def on_parcel(self, parcel: Parcel, port: Port) -> None:
        work, batch = Work(), parcel.batch
        counts = work.of(self.step)
        counts.rows_in += len(batch)
        with blamed(self.step):
            fitted, grown = self._aligned_to.fit(batch.as_input(), "")
        if grown:
            self._guard.once(lambda: self.driver.plan(self._aligned_to.schemas[""]))
        self._begin()
        rejected: list[Rejected] = []
        rejected += self._guard.rows(fitted, self._write, rejected.extend, partly=True)
        refused = self._refusal.rows(work, fitted, rejected, port.input) if rejected else set()
        counts.rows_out += len(fitted) - len(refused)
        self._prove(work, parcel, port, refused)
        self.deliver(work)

    def on_barrier(self, barrier: Barrier) -> None:
        self._begin()
        crash.point("prepare")
        token = self._guard.once(lambda: self.driver.prepare(barrier.epoch, barrier.last))
        crash.point("prepared")
        self.prepared = (barrier.epoch, token)
        self._begun = False
        self._epoch = self.context.epoch = barrier.epoch + 1
        with self.lock:
            report = self.hand_over(Report(self.id, barrier.epoch))
        report.token, report.has_token = token, True
        with blamed(self.step):
            snapshot = self.driver.snapshot()
        if snapshot is not None:
            report.snapshots[self.step] = (self.number, snapshot)
        self.tell(report)

    def decided(self) -> None:
        """The store may hold the epoch from now on: it is never aborted any more. From the region's thread."""
        self.prepared = None

    def leave(self) -> None:
        """Undo what no epoch holds; failures are only logged, since recovery undoes it as well."""
        prepared, self.prepared = self.prepared, None
        if not self.may_abort:
            return
        try:
            if self._begun or prepared is not None:
                crash.point("abort")
            if self._begun:
                self.driver.abort(self._epoch, [])
            if prepared is not None:
                self.driver.abort(prepared[0], [prepared[1]])
        except Exception:
            log.warning("abort of `%s` failed; the next start cleans up", self.step, exc_info=True)

    def _prove(self, work: Work, parcel: Parcel, port: Port, refused: set[int]) -> None:
        """Count all of it as taken, and as kept what was not refused."""
        rows, kept = len(parcel.batch), parcel.digest
        if refused:
            kept -= digest(parcel.batch.arrow.take(sorted(refused)))
        work.taken(port.edge, rows, parcel.digest)
        work.sums.kept.setdefault(self.step, Sum()).add(rows - len(refused), kept)
        work.proved(self.step).add(Counts(rows, rows - len(refused), len(refused)))

    def _begin(self) -> None:
        if not self._begun:
            self._guard.once(lambda: self.driver.begin(self._epoch))
            self._begun = True

    def _write(self, part: Batch) -> list[Rejected]:
        self._budget.gate()
        crash.point("write")
        rejected = self.driver.write(part)
        self.wrote = time.monotonic()
        crash.point("written")
        return rejected
