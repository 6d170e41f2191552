"""What every lane has: a thread, an inbox, a chain behind its head, and reports to its region."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from dataflare.checkpoint import Letter, SplitState, StateChange
from dataflare.drive import Driver
from dataflare.schema import Schema
from dataflare.split import Json
from dataflare_pipeline.chain import Chain
from dataflare_pipeline.channel import Call, Closed, Inbox, Parcel, Port
from dataflare_pipeline.operator import ProcessorOp
from dataflare_pipeline.work import Counts, Sums, Work

log = logging.getLogger("dataflare.pipeline")
TICK = 0.1


@dataclass
class Report:
    """What one lane hands over at a barrier: everything that belongs to this epoch and none that follows."""

    lane: str
    epoch: int
    letters: list[Letter] = field(default_factory=list)
    counts: dict[str, Counts] = field(default_factory=dict)
    sums: Sums = field(default_factory=Sums)
    state: list[StateChange] = field(default_factory=list)
    snapshots: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    splits: dict[str, SplitState] = field(default_factory=dict)
    watermarks: dict[str, str] = field(default_factory=dict)
    schemas: dict[str, Schema] = field(default_factory=dict)
    token: Json = None
    has_token: bool = False
    replayed: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class LaneFailed:
    """A lane's thread ended with an error."""

    lane: str
    error: BaseException


Mail = Report | LaneFailed | None
"""None only wakes the region up."""


class Lane(threading.Thread):
    """One lane of a chain. All driver calls happen in its thread, but for the close of what it parted with."""

    def __init__(self, step: str, number: int, chain: Chain, mail: queue.SimpleQueue[Mail]) -> None:
        super().__init__(name=f"{step}.{number}", daemon=True)
        self.step = step
        self.number = number
        self.chain = chain
        self.inbox = Inbox()
        self.lock = threading.Lock()
        self.live: dict[str, Counts] = {}
        """Counts since the attempt began, by step: for people, changed as rows are delivered."""
        self.state = "starting"
        self.delivered = 0
        self.busy = False
        """Of a source: rows are on their way through its chain."""
        self._mail = mail
        self._drivers: list[Driver] = []
        self._letters: list[Letter] = []
        self._counts: dict[str, Counts] = {}
        self._sums = Sums()

    @property
    def id(self) -> str:
        """``step.number``."""
        return self.name

    def owns(self, driver: Driver) -> None:
        """Close this driver when the lane ends."""
        self._drivers.append(driver)

    def turn(self, fresh: Mapping[str, ProcessorOp]) -> None:
        """Go on with other operators for these steps; the ones until now stay open until the lane parts with them.

        A batch that is on its way through the chain stays with them.
        """
        for operator in self.chain.operators:
            if operator.step in fresh:
                self.owns(operator.driver)
        self.chain = self.chain.renewed(fresh)

    def part_with(self, drivers: Iterable[Driver]) -> None:
        """Close drivers of guests that are not used any more, beside the lane: an end takes its time. In its thread."""
        parted = list(drivers)
        for driver in parted:
            self._drivers.remove(driver)
        threading.Thread(target=_close, args=(parted,), name=f"{self.name}-parted", daemon=True).start()

    def abandon(self) -> None:
        """Let the component's call that runs now fail, where that can be done. From any thread."""
        for driver in [*self._drivers, *(operator.driver for operator in self.operators())]:
            driver.component.abandon()

    def operators(self) -> list[ProcessorOp]:
        """The processors in this lane. From any thread."""
        return list(self.chain.operators)

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Run a function in the lane's thread."""
        return self.inbox.submit(function)

    def run(self) -> None:
        """The thread: the lane's loop, then closing what it opened."""
        try:
            self.loop()
        except Closed:
            pass
        except BaseException as error:
            self._mail.put(LaneFailed(self.id, error))
            self._wait_for_close()
        finally:
            self.leave()
            for driver in reversed([*self._drivers, *(operator.driver for operator in self.chain.operators)]):
                driver.close()

    def loop(self) -> None:
        """Work until Closed."""
        raise NotImplementedError

    def leave(self) -> None:
        """Undo what is open, before the drivers close."""

    def close(self) -> None:
        """End the loop soon. From any thread."""
        self.inbox.close()

    def deliver(self, work: Work, also: Callable[[], None] | None = None) -> None:
        """Wait for credit everywhere, then hand everything over; only then it counts. Raises Closed.

        ``also`` happens under the same lock: a barrier comes before all of it or behind all of it.
        """
        parts = self._parcels(work)
        for port in {id(port): port for port, _ in parts}.values():
            self.state = "waiting"
            port.wait_credit()
        self.state = "running"
        self.before_delivery()
        with self.lock:
            if self.inbox.closed:
                raise Closed
            for port, parcel in parts:
                port.put(parcel)
            self._count(work)
            self.delivered += 1
            if also is not None:
                also()

    def has_news(self) -> bool:
        """Has the lane anything that an epoch would keep? A glance, without the lock."""
        return bool(self._letters or self._counts)

    def before_delivery(self) -> None:
        """Wait here while nothing may be delivered."""

    def serve_until(self, ready: Callable[[], bool]) -> None:
        """Run calls of the region until ``ready()``; for a lane that must not take data meanwhile. Raises Closed."""
        while not ready():
            taken = self.inbox.take(TICK)
            if isinstance(taken, Call):
                taken.run()

    def hand_over(self, report: Report) -> Report:
        """Move letters and counts of this epoch into a report; under the lock."""
        report.letters, self._letters = self._letters, []
        report.counts, self._counts = self._counts, {}
        report.sums, self._sums = self._sums, Sums()
        return report

    def tell(self, mail: Mail) -> None:
        """Send something to the region; None only wakes it."""
        self._mail.put(mail)

    def _parcels(self, work: Work) -> list[tuple[Port, Parcel]]:
        """What leaves, counted as a whole; a part that goes elsewhere than the rest is summed up by itself."""
        parcels = []
        for outlet, batch in work.outputs:
            work.sent(outlet.edge, len(batch), work.digest(batch))
            parcels += [(port, Parcel(part, work.digest(part))) for port, part in outlet.spread(batch)]
        return parcels

    def _count(self, work: Work) -> None:
        self._letters += work.letters
        self._sums.add(work.sums)
        for step, counts in work.counts.items():
            self._counts.setdefault(step, Counts()).add(counts)
            self.live.setdefault(step, Counts()).add(counts)

    def _wait_for_close(self) -> None:
        """After a failure: answer no calls, take no data, until the region ends the attempt."""
        while True:
            try:
                taken = self.inbox.take(None)
            except Closed:
                return
            if isinstance(taken, Call):
                taken.future.cancel()
            elif taken is not None:
                taken[0].held = True


def _close(drivers: Iterable[Driver]) -> None:
    for driver in drivers:
        driver.close()
