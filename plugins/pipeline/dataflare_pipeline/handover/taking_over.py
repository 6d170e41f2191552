"""``python -m dataflare_pipeline.handover.taking_over``: the process that goes on with a flow in place of another one.

The process that starts it keeps the control socket, the signals and the exit code of the run; this one is told what to
do over a line, and ends with it.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any

from dataflare.errors import DataflareError
from dataflare_pipeline.handover.wire import Wire, problems_of

Json = Any
Answer = Json | tuple[Json, list[bytes]]
_PR_SET_PDEATHSIG = 1
TOLD_EVERY = 0.05
log = logging.getLogger("dataflare.pipeline")


class Successor:
    """Answers what the other process asks. Each question has a thread of its own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._ready: Any = None
        self._runner: Any = None
        self._told = threading.Event()
        self._questions: dict[str, Callable[..., Answer]] = {
            "prepare": self._prepare,
            "shadow": self._shadow,
            "follow": self._follow,
            "take": self._take,
            "begin": self._begin,
            "command": lambda value, parts: self._runner.command(value["name"], value["args"]),
            "budget": lambda value, parts: self._runner.session.budget.set(*value),
        }
        """All else is for ``Leaving``."""

    def serve(self) -> None:
        """Answer until the other process goes; then this one ends at once: nobody waits for it any more."""
        try:
            while True:
                header, value, parts = self._wire.receive()
                threading.Thread(target=self._answer, args=(header, value, parts), daemon=True).start()
        except Exception:
            os._exit(1)

    def stop(self) -> None:
        """Stop the flow at a barrier, once there is one."""
        if self._runner is not None:
            threading.Thread(target=self._runner.command, args=("stop", {}), daemon=True).start()

    def _answer(self, header: dict[str, Json], value: Json, parts: Sequence[bytes]) -> None:
        more: list[bytes] = []
        try:
            known = self._questions.get(header["op"])
            answer = known(value, parts) if known else self._runner.leaving.answer(header["op"], value or {})
            if isinstance(answer, tuple):
                answer, more = answer
            good = True
        except BaseException as error:
            if not isinstance(error, DataflareError):
                log.error("`%s` failed", header["op"], exc_info=error)
            answer, good = problems_of(error), False
        try:
            self._wire.send({"op": "answer", "number": header["number"], "ok": good}, answer, more)
        except OSError:
            os._exit(1)

    def _prepare(self, value: Json, parts: Sequence[bytes]) -> Answer:
        from dataflare_pipeline.handover.beforehand import Beforehand
        from dataflare_pipeline.handover.warming import warm_up

        warm_up(value["modules"])
        self._ready = Beforehand(value)
        return {}

    def _shadow(self, value: Json, parts: Sequence[bytes]) -> Answer:
        self._ready.shadow(value, parts)
        return {}

    def _follow(self, value: Json, parts: Sequence[bytes]) -> Answer:
        """Keys that the other process has changed meanwhile."""
        from dataflare_pipeline.handover.preloaded import unpacked

        for part in parts:
            self._ready.state.follow(unpacked(part))
        # What is there now stays: a collection that looks it through would stop everything.
        gc.collect()
        gc.freeze()
        return {}

    def _take(self, value: Json, parts: Sequence[bytes]) -> Answer:
        """Take the leases and run the flow from there; how it goes on is told by itself."""
        from dataflare_pipeline.handover.preloaded import unpacked
        from dataflare_pipeline.handover.taking import Taking
        from dataflare_pipeline.runner import FlowRunner

        changes = dict(zip(value["regions"], map(unpacked, parts), strict=True))
        taking = Taking(self._ready, value, changes)
        self._runner = FlowRunner(self._ready.session, taking)
        threading.Thread(target=self._run, args=(self._ready.host, taking.futures), name="flow").start()
        threading.Thread(target=self._tell, args=(taking,), daemon=True).start()
        return {}

    def _begin(self, value: Json, parts: Sequence[bytes]) -> Answer:
        """Run a flow that no other process has."""
        from dataflare_pipeline.handover.beforehand import session_for
        from dataflare_pipeline.runner import FlowRunner

        session = session_for(value)
        self._runner = FlowRunner(session)
        threading.Thread(target=self._run, args=(session.host, {}), name="flow").start()
        return {}

    def _run(self, host: Any, tried: Mapping[str, Future[Any]]) -> None:
        from dataflare_pipeline.handover.taken import outcome_json

        outcome = self._runner.run()
        try:
            host.stop()
            if tried and all(future.done() for future in tried.values()):
                self._told.wait(1.0)
            self._wire.send({"op": "ended"}, outcome_json(outcome))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    def _tell(self, taking: Any) -> None:
        """How the trial goes: rows that would be read again, then what came of it."""
        futures = list(taking.futures.values())
        while wait(futures, TOLD_EVERY).not_done:
            self._wire.send({"op": "rows"}, self._runner.leaving.uncommitted())
        self._wire.send({"op": "tried"}, taking.result())
        self._told.set()


class _ToOther(logging.Handler):
    """Log records go where those of the other process go."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            self._wire.send({"op": "log"}, {"name": record.name, "level": record.levelno, "text": text})
        except Exception:
            self.handleError(record)


def main() -> None:
    """The process."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.set_inheritable(descriptor, False)
    wire = Wire(socket.socket(fileno=descriptor))
    logging.basicConfig(level=logging.INFO, handlers=[_ToOther(wire)])
    successor = Successor(wire)
    # Ctrl-C goes to the whole group: the process that was launched stops the flow, wherever it runs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: successor.stop())
    successor.serve()


if __name__ == "__main__":
    main()
