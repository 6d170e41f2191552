"""Carries frames to one process of a guest, and ends it where it cannot be used any more."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

from dataflare.errors import DataflareError
from dataflare.guest.frames import Frame
from dataflare.hosting import lost
from dataflare.hosting.transport import Loss
from dataflare_worker.process import Launch, Process

STARTING = 30.0
"""Seconds that a guest may take longer for its first answer: it imports the plugin's code first."""
_LOOK = 0.05
_ALWAYS = 64 << 10
_DYING = 0.2
_WORN = 0.75
_LOOK_AGAIN = 0.2
Answering = Callable[[Frame], Frame]


class _Late(Exception):
    """The deadline has passed."""


class _Ended(Exception):
    """The process is no more."""


class ProcessTransport:
    """One guest in a process. One call at a time; ``close`` from any thread. ``on_end`` is told whether it was lost."""

    def __init__(self, launch: Launch, on_end: Callable[[bool], None] = lambda was_lost: None) -> None:
        self._launch = launch
        self._on_end = on_end
        self._owner = os.getpid()
        self._turn = threading.Lock()
        self._closed = False
        self._until = 0.0
        self._extra = STARTING
        self._looked, self._first, self._worn = 0.0, 0, False
        self._process = Process(launch, self._wait)

    @property
    def pid(self) -> int:
        """The process number of the guest."""
        return self._process.pid

    @property
    def memory(self) -> int | None:
        """Bytes that the process of the guest has to itself; None where the system does not tell."""
        return self._process.memory()

    def room(self, size: int) -> memoryview | None:
        """Memory that the guest reads without a copy, to write a part of the next request into."""
        return self._process.channel.room(size)

    def is_usable(self) -> bool:
        """Whether it still runs, and is this process's own and not that of the one that this was forked from."""
        return self._owner == os.getpid() and not self._closed and not self._process.has_ended()

    def is_worn(self) -> bool:
        """Whether it holds three quarters of what it may beyond its first size; looked at a few times a second."""
        most, now = self._launch.memory, time.monotonic()
        if most is not None and now >= self._looked + _LOOK_AGAIN:
            self._looked = now
            self._worn = (self.memory or 0) - self._first > _WORN * most
        return self._worn

    def call(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        """The guest's answer; its questions are answered meanwhile, in time that is not its own. Raises GuestLost."""
        with self._turn:
            if self._closed:
                raise lost("guest.exited", self._launch.plugin, request, "it was closed")
            if (step := (request.header.get("context") or {}).get("step")) is not None:
                self._process.output.step = str(step)
            self._until, self._extra = time.monotonic() + seconds + self._extra, 0.0
            code: Loss
            fix = None
            try:
                answer = self._exchange(request, answering)
                self._first = self._first or self.memory or 0
                return answer
            except _Late:
                code, cause = "guest.timeout", f"it took longer than {seconds:g} s"
                fix = "raise `wall_per_batch` in the manifest's [limits], or give it smaller batches"
            except (_Ended, BrokenPipeError, ConnectionResetError):
                code, cause = self._process.how_it_ended()
            except DataflareError as error:
                code, cause = self._malformed(error)
            except BaseException:
                self._end()
                raise
            self._end()
            said = self._process.output.last()
            raise lost(code, self._launch.plugin, request, cause + (f"; it said last:\n{said}" if said else ""), fix)

    def close(self) -> None:
        """End the guest; a call that is under way is cut off. In a fork of its host nothing is ended."""
        if self._owner != os.getpid():
            return
        if not self._turn.acquire(blocking=False):
            self._process.kill()
            self._turn.acquire()
        try:
            if not self._closed:
                self._closed = True
                self._process.close()
                self._on_end(False)
        finally:
            self._turn.release()

    def _exchange(self, request: Frame, answering: Answering) -> Frame:
        channel = self._process.channel
        if (ratio := self._launch.output_ratio) is not None:
            channel.most = int(max(_ALWAYS, ratio * sum(len(part) for part in request.parts)))
        channel.send(request)
        while True:
            frame = channel.receive()
            if frame is None:
                raise _Ended
            if "op" not in frame.header:
                return frame
            asked = time.monotonic()
            answer = answering(frame)
            self._until += time.monotonic() - asked
            try:
                channel.send(answer)
            except DataflareError as error:
                channel.send(Frame({"error": error.problems[0].as_json()}))

    def _wait(self, descriptor: int, event: int) -> None:
        """Until the guest reads or writes on. Raises _Late, _Ended."""
        ended = self._process.ended
        polled = select.poll()
        polled.register(descriptor, event)
        if ended is not None:
            polled.register(ended, select.POLLIN)
        while (left := self._until - time.monotonic()) > 0:
            ready = dict(polled.poll(1000 * (left if ended is not None else min(left, _LOOK))))
            if descriptor in ready:
                return
            # What it wrote before it ended was read: a process that it started may hold the pipe open.
            if ready or (ended is None and self._process.has_ended()):
                raise _Ended
        raise _Late

    def _malformed(self, error: DataflareError) -> tuple[Loss, str]:
        """A frame that ends in its middle is that of a guest that died."""
        if self._process.has_ended(_DYING):
            return self._process.how_it_ended()
        problem = error.problems[0]
        return (
            "guest.output" if problem.code == "guest.output" else "guest.frame",
            f"{problem.message}: {problem.cause}",
        )

    def _end(self) -> None:
        self._closed = True
        self._process.kill()
        self._process.close()
        self._on_end(True)
