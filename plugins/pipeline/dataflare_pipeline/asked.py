"""What people ask of a running region. Each request gets an answer, also where the region ends before it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflare.errors import DataflareError, StateError
from dataflare_pipeline.ballot import Ballot
from dataflare_pipeline.replay import Wanted

if TYPE_CHECKING:
    from dataflare_pipeline.exchange import Exchange

Answer = dict[str, Any]


@dataclass
class Edit:
    """A person's new position of a split."""

    step: str
    split: str
    position: Any
    future: Future[Answer] = field(default_factory=Future)


@dataclass
class Replay:
    """Dead letters that somebody wants replayed."""

    wanted: Wanted
    future: Future[Answer] = field(default_factory=Future)


@dataclass
class Sync:
    """Somebody waits for an epoch that holds what was delivered before."""

    future: Future[Answer] = field(default_factory=Future)


@dataclass
class Swap:
    """The flow goes on with other components from the next barrier on; the one behind it says whether for good."""

    session: Any
    """The session by the new plan, with the new generation of components."""
    plugin: str
    ballot: Ballot
    exchange: Exchange | None = None
    """What takes over in the lanes as they are, or hands over state alone; None: the region begins anew."""
    future: Future[Answer] = field(default_factory=Future)

    def withdrawn(self) -> bool:
        """Has another region said no before this one began, or could the state not follow? Then it is answered."""
        outcome = "rolled_back"
        try:
            self.ballot.check()
            outcome = "refused"
            if self.exchange is not None:
                self.exchange.check()
        except DataflareError as error:
            self.ballot.no(str(error))
            problem = error.problems[0].as_json()
            self.future.set_result({"outcome": outcome, "problem": problem, "pause_ms": 0.0, "replayed": 0})
            return True
        return False


@dataclass
class Leave:
    """The region comes to rest at a barrier, so that another process can go on with it."""

    future: Future[Answer] = field(default_factory=Future)
    """At rest: ``epoch``, ``incarnation``, ``token``, and ``since`` when nothing moves (monotonic seconds)."""
    back: Future[bool] = field(default_factory=Future)
    """Whether it goes on here after all."""


Request = Edit | Replay | Sync | Swap | Leave


class Requests:
    """The requests to one region: put by any thread, taken by the region's own."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._lock = threading.Lock()
        self._waiting: list[Request] = []
        self._ended: StateError | Answer | None = None

    def put(self, request: Request) -> Future[Answer]:
        """Ask; the answer comes into the future. A region that has ended answers at once."""
        with self._lock:
            if self._ended is None:
                self._waiting.append(request)
                return request.future
        self._refuse(request)
        return request.future

    def any(self, *kinds: type[Request]) -> bool:
        """Is something of these kinds asked for?"""
        return any(isinstance(request, kinds) for request in list(self._waiting))

    def first(self, kind: type[Request]) -> Any:
        """The first that is asked for of a kind, or None; it stays."""
        return next((request for request in list(self._waiting) if isinstance(request, kind)), None)

    def take(self, *kinds: type[Request]) -> list[Any]:
        """What is asked for of these kinds, in order; whoever takes it answers it."""
        with self._lock:
            taken = [request for request in self._waiting if isinstance(request, kinds)]
            self._waiting = [request for request in self._waiting if not isinstance(request, kinds)]
            return taken

    def drop(self, request: Request) -> None:
        """Whoever asked does not want it any more; without effect once it was taken."""
        with self._lock:
            self._waiting = [each for each in self._waiting if each is not request]

    def back(self, requests: list[Any]) -> None:
        """Requests that were taken and could not be answered: the next attempt will."""
        with self._lock:
            self._waiting = [*requests, *self._waiting]

    def end(self, epoch: int | None) -> None:
        """The region has ended, well with its last ``epoch`` or (None) not: answer all, and all that still come."""
        over = StateError.of("run.not_running", f"the flow `{self._flow}` is not running any more")
        with self._lock:
            self._ended = over if epoch is None else {"epoch": epoch}
            waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._refuse(request)

    def _refuse(self, request: Request) -> None:
        if isinstance(request, Swap):
            request.ballot.yes()
        if isinstance(request, Sync) and isinstance(self._ended, dict):
            request.future.set_result(self._ended)
        else:
            request.future.set_exception(
                StateError.of("run.not_running", f"the flow `{self._flow}` is not running any more")
            )
