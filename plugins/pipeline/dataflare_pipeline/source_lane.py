"""A source lane: reads its splits in turn, pushes rows through the fused steps, hands them on with their position.

The barrier is put into the lane's ports by the region, between two deliveries, and never waits for ``read``: what
is still being read or processed belongs to the next epoch.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Generator
from copy import copy
from datetime import UTC, datetime, timedelta

from dataflare import crash
from dataflare.checkpoint import SplitState
from dataflare.drive import NO_POSITION, NoPosition, Reading, SourceDriver
from dataflare.errors import Retry, problem_of
from dataflare.split import Json, Split
from dataflare_host.kinds import Budget
from dataflare_host.plan import MAIN
from dataflare_pipeline.active import Active, Reads
from dataflare_pipeline.bound import EpochBound
from dataflare_pipeline.chain import Chain
from dataflare_pipeline.channel import Barrier, Call, Closed, Watermark
from dataflare_pipeline.circuit import Circuit
from dataflare_pipeline.gate import SchemaGate
from dataflare_pipeline.lane import TICK, Lane, Mail, Report, log
from dataflare_pipeline.policy import StepFailed, asked_pause, blamed
from dataflare_pipeline.splits import SplitBook
from dataflare_pipeline.work import Refusal, Work

READ_FOR = 0.1
DISCOVER_EVERY = 1.0


class SourceLane(Lane):
    """One instance of a source and the stateless steps fused behind it."""

    def __init__(
        self,
        step: str,
        number: int,
        chain: Chain,
        mail: queue.SimpleQueue[Mail],
        driver: SourceDriver,
        book: SplitBook,
        reads: Reads,
        gate: SchemaGate,
        refusal: Refusal,
        budget: Budget,
        bound: EpochBound,
        circuit: Circuit,
    ) -> None:
        super().__init__(step, number, chain, mail)
        self.driver = driver
        self.book = book
        self.reading = False
        """The source is asked for rows, or what it gave is not delivered yet."""
        self.busy = False
        """Rows were taken from the source that are not delivered yet."""
        self.gave = 0.0
        """When its first rows had been delivered (monotonic seconds)."""
        self.dirty = False
        """Something was delivered, or a position moved, since the last barrier."""
        self.rounds: Generator[tuple[list[Split], Json]] | None = None
        self._reads = reads
        self._gate = gate
        self._refusal = refusal
        self._budget = budget
        self._bound = bound
        self._circuit = circuit
        self._held = True
        self._paused = False
        self._active: dict[str, Active] = {}
        self._ended: dict[str, SplitState] = {}
        self._announced = Watermark(None)
        self._seen: datetime | None = None
        self._next_round = 0.0
        self.owns(driver)

    # --- from the region's thread ----------------------------------------------------------------

    def inject(self, barrier: Barrier) -> Report:
        """Put a barrier behind the last delivery, and say what came before it."""
        with self.lock:
            for outlet in self.chain.outlets:
                outlet.mark(barrier)
            report = self.hand_over(Report(self.id, barrier.epoch))
            report.splits = {**self._ended, **{key: copy(active.state) for key, active in self._active.items()}}
            report.schemas = {f"{self.step}.{output}": schema for output, schema in self._gate.schemas.items()}
            for split in report.splits:
                if (mark := self.book.watermark_of(split)) is not None:
                    report.watermarks[f"{self.step}/{split}"] = mark
            self.dirty = False
            if barrier.turn is not None:
                barrier.turn(self, None)
        for operator in self.chain.operators:
            operator.context.epoch = barrier.epoch + 1
        return report

    def pause(self) -> None:
        """Read nothing more until ``release``; what is read is still delivered."""
        self._paused = True

    def hold(self) -> None:
        """Deliver nothing more until ``release``; rows in hand are kept."""
        self._held = True

    def go_on(self) -> None:
        """Deliver again what was held."""
        self._held = False
        self.inbox.wake()

    def release(self) -> None:
        """Read and deliver again; the first call starts the reading."""
        self._held = self._paused = False
        self.inbox.wake()

    # --- the loop ----------------------------------------------------------------------------------

    def loop(self) -> None:
        while True:
            while (call := self.inbox.call()) is not None:
                call.run()
            if self.inbox.closed:
                raise Closed
            # Said before looking: the region pauses first and looks then, so one of the two sees the other.
            self.reading = True
            active = None
            if not (self._held or self._paused):
                self._discover()
                active = self._choose()
            if active is not None:
                self._read(active)
            self.reading = False
            if active is None:
                self._rest()

    def leave(self) -> None:
        try:
            if self.rounds is not None:
                self.rounds.close()
        except Exception:
            log.warning("`splits` of `%s` did not end well", self.step, exc_info=True)

    def progress(self) -> float:
        """How much of its splits this lane has read, in the unit of their sizes; a glance, for people."""
        sizes = self.book.sizes()
        ended = sum(sizes.get(split) or 0 for split in list(self._ended))
        return ended + sum(active.progress() for active in list(self._active.values()))

    def has_news(self) -> bool:
        return self.dirty or super().has_news()

    def before_delivery(self) -> None:
        self.serve_until(lambda: not self._held and not self._bound.full)

    def _rest(self) -> None:
        """Nothing to read now: stay reachable."""
        self.state = "idle"
        if not self._held:
            self._announce()
        taken = self.inbox.take(self._wait())
        if isinstance(taken, Call):
            taken.run()

    def _wait(self) -> float:
        """Seconds until something may be readable again."""
        soonest = min((active.not_before for active in self._active.values()), default=None)
        return (
            TICK if soonest is None or self._held or self._paused else min(TICK, max(0.001, soonest - time.monotonic()))
        )

    def _choose(self) -> Active | None:
        """The next active split that is due, else one more of the book's; splits are served in turn."""
        now = time.monotonic()
        for key, active in self._active.items():
            if active.not_before <= now:
                with self.lock:
                    self._active[key] = self._active.pop(key)
                return active
        state = self.book.take()
        if state is None:
            return None
        split = Split(state.id, state.data, state.start, tuple(state.after), state.size)
        with self.lock:
            made = self._active[state.id] = Active(state, split)
        return made

    def _discover(self) -> None:
        """One more round of a source whose splits appear while it runs."""
        if self.rounds is None or time.monotonic() < self._next_round:
            return
        self._next_round = time.monotonic() + DISCOVER_EVERY
        with blamed(self.step):
            found = next(self.rounds, None)
        if found is None:
            self.rounds, self.book.discovering = None, False
            self._tell_end()
        else:
            self.book.add(*found)

    # --- reading one step --------------------------------------------------------------------------

    def _read(self, active: Active) -> None:
        self.state = "reading"
        active.demand.rows, active.demand.bytes = self._reads.rows, self._reads.bytes
        active.demand.until = time.monotonic() + READ_FOR
        try:
            self._budget.gate()
            if active.steps is None:
                self.driver.agreed = self._gate.schemas.get(MAIN)
                active.steps = self.driver.read(active.split, active.position, active.demand, self._reads.columns)
            reading = next(active.steps, None)
        except Exception as error:
            self._failed(active, error)
            return
        active.attempt = 0
        self._circuit.passed()
        if reading is not None:
            self._given(active, reading)
        elif self._reads.every is None:
            self._hand_on(active, NO_POSITION, ended=True)
            self._tell_end()
        else:
            active.steps = None
            self._hand_on(active, NO_POSITION)
            active.not_before = time.monotonic() + self._reads.every
            self.book.idle(active.split.id)

    def _failed(self, active: Active, error: Exception) -> None:
        """Read again from the last position handed over, later, where that is asked for; else the step fails."""
        active.steps, active.withheld = None, []
        policy = self._reads.policy
        endless = isinstance(error, Retry)  # nobody but the source knows how long it has to wait
        wait = asked_pause(policy, error, active.attempt) if endless else policy.pause(error, active.attempt)
        self._circuit.failed(problem_of(error, "step.failed"), wait or 0.0)
        if wait is None:
            raise StepFailed(self.step, error) from error
        active.not_before = time.monotonic() + wait
        active.attempt += 1

    def _given(self, active: Active, reading: Reading) -> None:
        if reading.idle:
            active.not_before = time.monotonic() + (reading.after or 0.0)
            if reading.after != 0.0:  # else only this step had no rows
                self.book.idle(active.split.id)
        if reading.batch is not None or reading.refused:
            active.withheld.append(reading)
        if reading.position is NO_POSITION and (reading.idle or self.driver.replay != "none"):
            return
        self._hand_on(active, reading.position)

    def _hand_on(self, active: Active, position: Json | NoPosition, *, ended: bool = False) -> None:
        """Push what was read through the chain and deliver it together with its position."""
        self.busy = True
        readings, active.withheld = active.withheld, []
        work = Work()
        batches = [reading.batch for reading in readings if reading.batch is not None]
        size = sum(len(batch) for batch in batches), sum(batch.nbytes for batch in batches)
        for reading in readings:
            for refused in reading.refused:
                self._refusal.raw(work, refused.code, refused.message, refused.raw, refused.place, active.split.id)
            if reading.batch is not None and len(reading.batch):
                self._push(active.split.id, reading, work)
        if (counts := work.counts.get(self.step)) is not None:
            work.proved(self.step).rejected += counts.rejected + counts.dropped
        crash.point("read")
        self.deliver(work, lambda: self._move(active, position, ended, size if readings else None))
        self.busy = False
        self.gave = self.gave or time.monotonic()
        if readings:
            self._announce()

    def _move(self, active: Active, position: Json | NoPosition, ended: bool, size: tuple[int, int] | None) -> None:
        """The position follows the rows, under the lock that a barrier takes too. ``size``: rows and bytes given."""
        state, gave = active.state, size is not None
        if size is not None and self._bound.add(*size):
            self.tell(None)
        if gave:
            self.book.advance(state.id, self._seen)
            self._seen = None
        if not isinstance(position, NoPosition) and position != state.position:
            state.position = position
            gave = True
        if ended:
            state.status = "finished"
            self._ended[state.id] = self._active.pop(state.id).state
            self.book.end(state.id)
        elif state.status == "new":
            state.status = "active"
        self.dirty = self.dirty or gave or ended
        if ended and self.book.awaited(state.id):
            self.driver.ctx.request_checkpoint()

    def _push(self, split: str, reading: Reading, work: Work) -> None:
        assert reading.batch is not None
        output = reading.stream or MAIN
        given, wanted = reading.batch, self._reads.columns
        if wanted is not None and not wanted.issuperset(given.columns):
            given = given.select([name for name in given.columns if name in wanted])
        batch = self._gate.fit(output, given, work)
        if batch is None:
            return
        position = None if isinstance(reading.position, NoPosition) else reading.position
        now = datetime.now(UTC)
        stamped = batch.with_envelope(stream=output, split=split, position=position, ingested=now)
        self._note_time(reading)
        work.of(self.step).rows_out += len(stamped)
        work.proved(self.step).rows_out += len(stamped)
        self.chain.push(self.step, output, stamped, work)

    def _tell_end(self) -> None:
        if self.book.exhausted():
            self.tell(None)

    # --- event time --------------------------------------------------------------------------------

    def _note_time(self, reading: Reading) -> None:
        column = self._reads.time_column
        if column is None or reading.batch is None or column not in reading.batch:
            return
        import pyarrow as pa
        import pyarrow.compute as pc

        times = reading.batch[column]
        if not (pa.types.is_timestamp(times.type) or pa.types.is_date(times.type)):
            return
        # Dates are their midnight; what Python's times are too coarse for is cut off, which is never too late.
        latest = pc.cast(pc.max(times), pa.timestamp("us", getattr(times.type, "tz", None)), safe=False).as_py()
        if latest is not None:
            aware = latest if latest.tzinfo else latest.replace(tzinfo=UTC)
            time = aware - timedelta(seconds=self._reads.lateness)
            self._seen = time if self._seen is None else max(self._seen, time)

    def _announce(self) -> None:
        """Tell the source's watermark behind what was delivered, once it has moved or nothing holds it any more."""
        time, quiet, before = self.book.watermark(), self.book.quiet(), self._announced.time
        mark = Watermark(before if time is None or (before is not None and before > time) else time, quiet)
        if mark == self._announced:
            return
        with self.lock:
            self._announced = mark
            for outlet in self.chain.outlets:
                outlet.mark(mark)
