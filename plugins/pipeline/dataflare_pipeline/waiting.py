"""How a region waits: for mail, for calls in lanes' threads, always awake to failures, fencing and deadlines."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from dataflare.errors import StateError
from dataflare_pipeline.lane import Lane, LaneFailed, Mail, Report
from dataflare_pipeline.lease import Lease
from dataflare_pipeline.session import Session
from dataflare_pipeline.trial import Trial

POLL = 0.05


class Aborted(Exception):
    """Somebody asked to leave at once."""


class LaneEnded(Exception):
    """A lane ended before it could do what it was asked."""


class Mailbox:
    """The mail of one attempt's lanes; every wait looks whether the attempt must end."""

    def __init__(self, session: Session, lease: Lease, trial: Trial | None = None) -> None:
        self.mail: queue.SimpleQueue[Mail] = queue.SimpleQueue()
        self._session = session
        self._lease = lease
        self.trial = trial
        self._until: float | None = None

    def wake(self) -> None:
        """End a waiting ``next``. From any thread."""
        self.mail.put(None)

    def next(self, timeout: float) -> Report | None:
        """The next report, if one comes in time. Raises what a lane failed with, Fenced, Aborted, StateError."""
        self.check()
        try:
            mail = self.mail.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if isinstance(mail, LaneFailed):
            raise mail.error
        self.check()
        return mail

    def call(self, lane: Lane, function: Callable[[], Any]) -> Any:
        """Run something in a lane's thread and wait for it."""
        return self.result(lane.submit(function))

    def result(self, future: Future[Any]) -> Any:
        """What a call gave. Raises what it raised, or what its lane failed with."""
        while True:
            try:
                return future.result(POLL)
            except FutureTimeout:
                if future.done():
                    raise
                self._look_for_failure()
            except CancelledError:
                self._look_for_failure()
                raise LaneEnded from None

    def sleep(self, seconds: float) -> None:
        """Wait, but not past a deadline or a failure."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._look_for_failure()
            time.sleep(min(left, POLL))

    def check(self) -> None:
        """Raise Fenced, Aborted, or StateError past the time that a stopping flow has to come to rest."""
        if self._lease.lost.is_set():
            raise self._lease.fenced()
        if self._session.aborting.is_set():
            raise Aborted
        if self.trial is not None and not self.trial.swap.future.done():
            self.trial.check()
        if self._until is None and self._session.stopping.is_set():
            self._until = time.monotonic() + float(self._session.option("drain_timeout", 30.0))
        if self._until is not None and time.monotonic() > self._until:
            raise StateError.of(
                "run.drain_timeout",
                "the flow did not come to rest in time",
                fix="raise `drain_timeout`, or look which step is slow; nothing is lost, the next run recovers",
            )

    def _look_for_failure(self) -> None:
        """Raise a lane's failure now; the other mail keeps its order."""
        self.check()
        kept: list[Mail] = []
        while not self.mail.empty():
            mail = self.mail.get()
            if isinstance(mail, LaneFailed):
                raise mail.error
            kept.append(mail)
        for mail in kept:
            self.mail.put(mail)
