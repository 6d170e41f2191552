"""The lease of a region: taken by compare-and-set, kept by a heartbeat, never believed from a clock.

A waiter watches for a heartbeat that does not move, on its own monotonic clock, then takes the next token
(CONTRACT §6). A holder on this machine whose process is gone is replaced at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dataflare import crash
from dataflare.checkpoint import LeaseInfo
from dataflare.errors import Fenced, StateError
from dataflare.owner import described, is_dead, this_process
from dataflare.store import Store
from dataflare.types import Duration

log = logging.getLogger("dataflare.pipeline")


@dataclass(frozen=True)
class Pace:
    """How often the holder of a lease says that it lives, and how long a silent one is waited for."""

    beat: Duration = 1.0
    patience: Duration = 10.0

    def __post_init__(self) -> None:
        if not 0 < 3 * self.beat <= self.patience:
            raise ValueError("`patience` must be at least three times `beat`, or a busy run is taken for a dead one")


class Cancelled(Exception):
    """The flow was stopped before it had its lease."""


class Lease:
    """A region's lease, held. ``token`` fences every write; ``lost`` is set once a newer one exists."""

    def __init__(self, store: Store, flow: str, region: str, on_lost: Callable[[], None], pace: Pace) -> None:
        self.flow = flow
        self.region = region
        self.token = 0
        self.lost = threading.Event()
        self._store = store
        self._on_lost = on_lost
        self._pace = pace
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()
        self._lent = False
        self._beating = False

    def acquire(self, cancelled: threading.Event) -> int:
        """Take the lease; the new token.

        Raises StateError ``run.already_running`` if somebody alive holds it, Cancelled.
        """
        while True:
            info = self._store.lease_info(self.flow, self.region)
            if info is not None and not info.released and not is_dead(info):
                self._watch(info, cancelled)
            try:
                self.token = self._store.lease(self.flow, self.region, this_process(), info.token if info else 0)
            except Fenced:
                continue
            if info is not None and not info.released:
                crash.point("takeover")
            self._begin()
            return self.token

    def take(self, token: int) -> int:
        """Take the lease from whoever holds it by this token, and waits for us to do so. Raises Fenced."""
        self.token = self._store.lease(self.flow, self.region, this_process(), token)
        crash.point("taken")
        self._begin()
        return self.token

    def lend(self) -> None:
        """Another process of ours may take it: that it has a newer token does not end this run."""
        with self._turn:
            self._lent = True

    def take_back(self) -> None:
        """Take the next token; whoever it was lent to has ended. Raises Fenced where somebody else has it."""
        with self._turn:
            info = self._store.lease_info(self.flow, self.region)
            if info is None or (info.token != self.token and not is_dead(info)):
                raise self.fenced()
            self.token = self._store.lease(self.flow, self.region, this_process(), info.token)
            self._lent = False
        if not self._beating:
            self._begin()

    def _begin(self) -> None:
        self._beating = True
        self._thread = threading.Thread(target=self._beat, name=f"lease-{self.region}", daemon=True)
        self._thread.start()

    def _watch(self, info: LeaseInfo, cancelled: threading.Event) -> None:
        # Only time in which this process looked counts: it may have been frozen itself, or the whole machine asleep.
        silent, looked, every = 0.0, time.monotonic(), self._pace.beat / 10
        while silent < self._pace.patience:
            if cancelled.wait(every):
                raise Cancelled
            silent += min(time.monotonic() - looked, 2 * every)
            looked = time.monotonic()
            now = self._store.lease_info(self.flow, self.region)
            if now is None or now.token != info.token or now.released or is_dead(now):
                return
            if now.beat != info.beat:
                raise StateError.of(
                    "run.already_running",
                    f"the flow `{self.flow}` is already running",
                    cause=f"its lease is held by {described(info)}",
                    fix="stop that run first (`dataflare flow stop`), or give this flow a store of its own",
                )

    def renew(self) -> None:
        """Take the next token, so that nothing an earlier attempt left behind passes for this one's. Raises Fenced."""
        with self._turn:
            self.token = self._store.lease(self.flow, self.region, this_process(), self.token)

    def is_taken(self) -> bool:
        """Whether somebody else has taken a newer token; asks the store, and believes in the lease if that fails."""
        if self.lost.is_set():
            return True
        try:
            info = self._store.lease_info(self.flow, self.region)
        except Exception as error:
            log.warning("whose region %s is now could not be asked: %s", self.region, error)
            return False
        return info is not None and info.token > self.token

    def fenced(self) -> Fenced:
        """What ends a run whose lease somebody else has taken."""
        return Fenced.of(
            "state.fenced",
            f"another process has taken over the flow `{self.flow}`",
            fix="nothing is lost: that process goes on from the last committed epoch",
        )

    def _beat(self) -> None:
        while not self._stop.wait(self._pace.beat):
            try:
                with self._turn:
                    try:
                        self._store.beat(self.flow, self.region, self.token)
                    except Fenced:
                        self._beating = False
                        if self._lent:
                            return
                        raise
            except Fenced:
                self.lost.set()
                self._on_lost()
                return
            except Exception as error:
                log.warning("no heartbeat for region %s, again soon: %s", self.region, error)

    def release(self) -> None:
        """Stop the heartbeat and give the lease back; where that fails, it lapses by itself."""
        if not self.drop():
            return
        try:
            self._store.release(self.flow, self.region, self.token)
        except Exception as error:
            log.warning("the lease of region %s could not be given back: %s", self.region, error)

    def drop(self) -> bool:
        """Stop the heartbeat and leave the lease to whoever takes it next; False where it was never held."""
        self._stop.set()
        if self._thread is None:
            return False
        self._thread.join()
        return True
