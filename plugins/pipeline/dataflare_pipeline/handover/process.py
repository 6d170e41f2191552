"""A runner in a process of its own, seen from the process that started it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataflare.errors import Failed, StateError
from dataflare_host.kinds import Outcome
from dataflare_pipeline.handover.taken import outcome_of
from dataflare_pipeline.handover.wire import PROTOCOL, Wire, error_of

log = logging.getLogger("dataflare.pipeline")
Json = Any
Told = tuple[Json, list[bytes]]
_STARTER = ThreadPoolExecutor(1, "runner-starter")
"""A thread that lives as long as this process: on Linux the kernel ends a child with the thread that started it."""
COMMAND_WITHIN = 120.0


class RunnerProcess:
    """A process that runs a flow, or is about to. Thread-safe; it ends when this one does."""

    def __init__(self, python: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            words = [str(python), "-P", "-m", "dataflare_pipeline.handover.taking_over", str(theirs.fileno())]
            words += [str(os.getpid()), str(PROTOCOL)]
            self._process = _STARTER.submit(lambda: subprocess.Popen(words, pass_fds=[theirs.fileno()])).result()
        self.ended: Future[Outcome] = Future()
        """How the flow ended there; raises StateError ``run.process_lost`` where the process went without a word."""
        self.tried: Future[Json] = Future()
        """What came of its trial: the answer of the reload. Raises like ``ended``."""
        self.replayed = 0
        self._wire = Wire(ours)
        self._waiting: dict[int, Future[Told]] = {}
        self._number = 0
        self._turn = threading.Lock()
        threading.Thread(target=self._listen, name="runner-process", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def ask(
        self, name: str, value: Json = None, parts: Sequence[bytes] = (), within: float | None = COMMAND_WITHIN
    ) -> Told:
        """Have something done there. Raises what it raised, StateError ``run.process_lost``, TimeoutError."""
        future: Future[Told] = Future()
        with self._turn:
            if self.ended.done():
                raise self._lost()
            self._number += 1
            number = self._number
            self._waiting[number] = future
        try:
            self._wire.send({"op": name, "number": number}, value, parts)
        except OSError as error:
            raise self._lost() from error
        try:
            return future.result(within)
        except NotYet:
            raise TimeoutError(f"`{name}` took longer than {within:g} s") from None
        finally:
            with self._turn:
                self._waiting.pop(number, None)

    def end(self, within: float) -> None:
        """Wait for its end, then kill it; its process number is nobody's afterwards."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        try:
            while True:
                self._take(*self._wire.receive())
        except (EOFError, OSError, ValueError, Failed):
            pass
        except Exception:
            log.exception("what the runner process says cannot be understood")
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process.kill()
        self._process.wait()
        self._wire.close()
        lost = self._lost()
        with self._turn:
            waiting, self._waiting = self._waiting, {}
            for future in (self.tried, self.ended, *waiting.values()):
                if not future.done():
                    future.set_exception(lost)

    def _take(self, header: dict[str, Json], value: Json, parts: list[bytes]) -> None:
        match header["op"]:
            case "answer":
                with self._turn:
                    future = self._waiting.get(header["number"])
                if future is None:
                    return
                if header["ok"]:
                    future.set_result((value, parts))
                else:
                    future.set_exception(error_of(value))
            case "log":
                logging.getLogger(value["name"]).log(value["level"], "%s", value["text"])
            case "rows":
                self.replayed = int(value)
            case "tried":
                self.tried.set_result(value)
            case "ended":
                self.ended.set_result(outcome_of(value))

    def _lost(self) -> StateError:
        status = self._process.poll()
        if status is None:
            cause = "it closed its line"
        elif status < 0:
            cause = f"it was ended by signal {-status}"
        else:
            cause = f"it ended with exit status {status}"
        return StateError.of(
            "run.process_lost",
            "the process that ran the flow has gone",
            cause=cause,
            fix="run it again: it goes on after the last committed epoch",
        )
