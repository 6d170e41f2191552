"""How frames reach a guest, and the guests of a plugin that are at hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, Protocol

from dataflare.errors import Failed
from dataflare.guest.frames import Frame

ANSWERS_WITHIN = 60.0
"""Seconds that a guest which was just started has for its first answer."""
Answering = Callable[[Frame], Frame]
"""Answers a guest's question. Never raises."""


Loss = Literal["guest.trap", "guest.exited", "guest.timeout", "guest.memory", "guest.output", "guest.frame"]
"""How a guest can be lost."""


class GuestLost(Failed):
    """The guest cannot be used any more, and has been closed; a fresh one can take its place."""


class Transport(Protocol):
    """Carries frames to one running guest: a process, or a WASM instance. One call at a time."""

    def call(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        """The guest's answer; its questions are answered meanwhile.

        Raises GuestLost where it traps (``guest.trap``), ends (``guest.exited``), takes longer (``guest.timeout``) or
        more than it may (``guest.memory``, ``guest.output``), or gives what is no frame (``guest.frame``).
        """

    def close(self) -> None:
        """End the guest. Never raises. From any thread: a call that runs meanwhile raises GuestLost."""


def lost(code: Loss, plugin: str, request: Frame, cause: str, fix: str | None = None) -> GuestLost:
    """The error of a guest that is lost: it names the plugin, the operation and the cause."""
    op, component = request.header.get("op"), request.header.get("component")
    what = f"`{plugin}` was lost in `{op}`" + (f" of `{component}`" if component else "")
    return GuestLost.of(code, what, cause=cause, fix=fix)


class Guests:
    """The guests of one plugin: started when one is needed, kept for the next who asks. Thread-safe."""

    def __init__(self, start: Callable[[], Transport], keep: int = 1) -> None:
        self._start = start
        self._keep = keep
        self._idle: list[Transport] = []
        self._closed = False
        self._turn = threading.Lock()

    def take(self) -> Transport:
        """A guest that nobody else has. Raises what starting one raises."""
        with self._turn:
            if self._idle:
                return self._idle.pop()
        return self._start()

    def give_back(self, transport: Transport) -> None:
        """It is not needed for now, and has no open instance."""
        with self._turn:
            if not self._closed and len(self._idle) < self._keep and not self.is_worn(transport):
                self._idle.append(transport)
                return
        transport.close()

    def retain(self, number: int) -> None:
        """Keep so many that are given back, at least: their end takes longer than a moment."""
        with self._turn:
            self._keep = max(self._keep, number)

    def warm(self, number: int) -> None:
        """Have so many guests at hand that nobody has, and that answer. Raises what starting one raises, GuestLost."""
        started = [self._start() for _ in range(0 if self._closed else number - len(self._idle))]
        try:
            for transport in started:
                transport.call(Frame({"op": "describe"}), lambda question: Frame({}), ANSWERS_WITHIN)
        except BaseException:
            for transport in started:
                transport.close()
            raise
        with self._turn:
            self._idle += started

    def is_worn(self, transport: Transport) -> bool:
        """Whether a fresh guest had better take its place, once nothing is lost with it."""
        return False

    def close(self) -> None:
        """End those that nobody has, and from now on those that are given back."""
        with self._turn:
            idle, self._idle, self._closed = self._idle, [], True
        for transport in idle:
            transport.close()
