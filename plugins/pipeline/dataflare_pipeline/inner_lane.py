"""Lanes behind a channel: they align barriers over their ports, follow the watermark, and report each epoch."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from dataflare import crash
from dataflare_pipeline.chain import Chain
from dataflare_pipeline.channel import Barrier, Call, Item, Parcel, Port, Watermark
from dataflare_pipeline.lane import TICK, Lane, Mail, Report
from dataflare_pipeline.operator import ProcessorOp
from dataflare_pipeline.policy import blamed
from dataflare_pipeline.work import Work

END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


class InnerLane(Lane):
    """The loop of a lane with ports; what it does with batches and barriers is its subclass's."""

    def __init__(self, step: str, number: int, chain: Chain, mail: queue.SimpleQueue[Mail]) -> None:
        super().__init__(step, number, chain, mail)
        self._mark = Watermark(None)
        self.reached: datetime | None = None
        """Event time at the last barrier: the end of the input, which a later run may move, does not count."""
        self._told = True
        """Those behind know the watermark."""

    def resume_time(self, time: datetime | None) -> None:
        """Event time goes on from where a checkpoint has it."""
        self._mark, self._told = Watermark(time), time is None

    def loop(self) -> None:
        while True:
            self.state = "idle"
            taken = self.inbox.take(self.patience())
            if taken is None:
                self.on_tick()
            elif isinstance(taken, Call):
                taken.run()
            else:
                self._handle(*taken)

    def patience(self) -> float | None:
        """Seconds to wait for an item before ``on_tick``."""
        return None

    def on_tick(self) -> None:
        """Nothing came in time."""

    def on_parcel(self, parcel: Parcel, port: Port) -> None:
        """Rows of a port."""
        raise NotImplementedError

    def on_barrier(self, barrier: Barrier) -> None:
        """All ports have reached the barrier."""
        raise NotImplementedError

    def on_watermark(self, time: datetime) -> None:
        """The minimum of the ports' watermarks moved."""

    def _handle(self, port: Port, item: Item) -> None:
        if not self._told:
            self._tell_time()
        if isinstance(item, Parcel):
            self.state = "running"
            self.on_parcel(item, port)
        elif isinstance(item, Watermark):
            port.watermark = item
            self._follow_time()
        else:
            self._align(port, item)

    def _align(self, port: Port, barrier: Barrier) -> None:
        """Hold the port until every other one has brought the same barrier."""
        with self.inbox.lock:
            port.held = True
            waiting = any(not other.held for other in self.inbox.ports)
        if waiting:
            crash.point("align")
            return
        self.reached = self._mark.time
        if barrier.last:
            for each in self.inbox.ports:
                each.watermark = Watermark(END_OF_TIME)
            self._follow_time()
        self.state = "barrier"
        self.on_barrier(barrier)
        with self.inbox.lock:
            for each in self.inbox.ports:
                each.held = False

    def _follow_time(self) -> None:
        """The minimum over the ports that are not quiet; once all are, the latest that any of them has told."""
        marks = [port.watermark for port in self.inbox.ports]
        times = [mark.time for mark in marks if not mark.quiet]
        known = [time for time in times if time is not None]
        before, now = self._mark, self._mark.time
        if not times:
            now = max((mark.time for mark in marks if mark.time is not None), default=None)
        elif len(known) == len(times):
            now = min(known)
        if before.time is not None:
            now = max(before.time, now or before.time)
        self._mark = Watermark(now, quiet=not times)
        if now is not None and now != before.time:
            self.on_watermark(now)
        if self._mark != before:
            self._tell_time()

    def _tell_time(self) -> None:
        self._told = True
        for outlet in self.chain.outlets:
            outlet.mark(self._mark)


class ProcessorLane(InnerLane):
    """A processor with state, several inputs or lanes of its own, and the stateless steps fused behind it."""

    def __init__(self, step: str, number: int, chain: Chain, mail: queue.SimpleQueue[Mail], head: ProcessorOp) -> None:
        super().__init__(step, number, chain, mail)
        self.head = head
        self.owns(head.driver)

    def operators(self) -> list[ProcessorOp]:
        """The processors in this lane. From any thread."""
        return [self.head, *self.chain.operators]

    def turn(self, fresh: Mapping[str, ProcessorOp]) -> None:
        super().turn(fresh)
        if (head := fresh.get(self.step)) is not None:
            self.head = head
            self.owns(head.driver)

    def patience(self) -> float | None:
        timers = self.head.timers
        due = timers.next_processing() if timers else None
        return None if due is None else max(0.0, min(TICK, due - time.time()))

    def on_tick(self) -> None:
        self._fire(time.time(), event=False)

    def on_parcel(self, parcel: Parcel, port: Port) -> None:
        work = Work()
        for name, made in self.head.process(parcel.batch, port.input, work):
            self.chain.push(self.step, name, made, work)
        work.taken(port.edge, len(parcel.batch), parcel.digest)
        self.deliver(work)
        if self.head.timers is not None:
            self._fire(time.time(), event=False)

    def on_watermark(self, time: datetime) -> None:
        self._fire(time.timestamp(), event=True)
        work = Work()
        for name, made in self.head.watermark(time, work):
            self.chain.push(self.step, name, made, work)
        self.deliver(work)

    def on_barrier(self, barrier: Barrier) -> None:
        if self.head.timers is not None:
            self._fire(time.time(), event=False)
        if barrier.last:
            self._finish()
        with self.lock:
            report = self.hand_over(Report(self.id, barrier.epoch))
        self.head.barrier()
        if self.head.state is not None:
            report.state = self.head.state.changes()
        if self.reached is not None:
            report.watermarks[self.step] = self.reached.isoformat()
        with blamed(self.step):
            snapshot = self.head.driver.snapshot()
        if snapshot is not None:
            report.snapshots[self.step] = (self.number, snapshot)
        crash.point("snapshot")
        if barrier.turn is not None:
            barrier.turn(self, snapshot)
        self.enter(barrier.epoch + 1)
        for outlet in self.chain.outlets:
            outlet.mark(barrier)
        self.tell(report)

    def enter(self, epoch: int) -> None:
        """What comes belongs to this epoch."""
        for operator in (self.head, *self.chain.operators):
            operator.context.epoch = epoch

    def _finish(self) -> None:
        work = Work()
        for name, made in self.head.finish(work):
            self.chain.push(self.step, name, made, work)
        self.deliver(work)

    def _fire(self, until: float, *, event: bool) -> None:
        """Timers that are due, in the order of their time; a timer may set further ones that are due as well."""
        while due := self.head.due(until, event):
            for at, keys in due:
                work = Work()
                for name, made in self.head.timer(keys, at, work):
                    self.chain.push(self.step, name, made, work)
                self.deliver(work)
