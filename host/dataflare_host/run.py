"""Runs a plan in this process: its mode, the control socket, signals, progress, and what came of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dataflare.errors import ConfigError, DataflareError, Problem
from dataflare_host.control_server import Server
from dataflare_host.kinds import Mode, Outcome
from dataflare_host.plan import ADDRESSES, without_password

if TYPE_CHECKING:
    from types import FrameType

    from dataflare_host.host import HostApi
    from dataflare_host.plan import Plan

BEAT = 0.2
"""Seconds between two looks at the runner: signals, progress."""
GRACE = 5.0
"""Seconds that an aborted runner gets to leave by itself."""
DRAIN_TIMEOUT = 30.0
RELOADED_WITHIN = 25.0
"""Seconds that whoever asked for ``reload`` waits to hear that the next run began."""
ENDING = frozenset(("stop", "drain", "abort"))
Progress = Callable[[dict[str, Any]], None]


def run_plan(
    plan: Plan, host: HostApi, progress: Progress | None = None, again: Callable[[], Plan] | None = None
) -> Outcome:
    """Run a plan here until it ends, and give how it ended.

    ``progress`` gets the runner's status (see ``Runner.command``) about five times a second, in a thread of its own.
    ``again`` plans the flow anew, for the command ``reload``: the flow stops at a barrier and goes on by the new plan,
    from its last epoch.
    In the main thread SIGINT and SIGTERM stop the flow at a barrier (status ``stopped``); a second one aborts it
    (``failed``).
    Raises DataflareError where the flow could not be started, or failed without an outcome.
    """
    runs = _Runs(plan, host, again)
    about = {"digest": plan.digest, "mode": plan.mode["uses"], "guarantee": plan.guarantee.effective}
    with _signals() as received, Server(Path(plan.base), plan.name, runs.command, about) as server:
        outcome = runs.current.supervise(received, progress)
        while outcome.status == "stopped" and (following := runs.following()):
            server.hello["digest"] = following.plan.digest
            outcome = added(outcome, following.supervise(received, progress))
        server.ended(outcome_json(runs.current.plan, outcome))
        return outcome


class _Runs:
    """The runs of one flow in this process, one after the other: ``reload`` ends one and makes the next."""

    def __init__(self, plan: Plan, host: HostApi, again: Callable[[], Plan] | None) -> None:
        self.current = _Run(plan, host)
        self._host, self._again = host, again
        self._planned: Plan | None = None
        self._begun = threading.Event()
        self._turn = threading.Lock()

    def command(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        """A command from outside: ``reload``, or one for the mode. Raises DataflareError; then nothing has changed."""
        if name == "reload" and self._again is not None:
            return self._reload(self._again())
        with self._turn:
            if name in ENDING:
                self._planned = None
            current = self.current
        return current.mode.command(name, args)

    def following(self) -> _Run | None:
        """The run by the plan that was made meanwhile; None where nobody asked, or somebody wants it to end."""
        with self._turn:
            planned, self._planned = self._planned, None
            if planned is None or self.current.orders:
                return None
            self.current = _Run(planned, self._host)
            self._begun.set()
            return self.current

    def _reload(self, planned: Plan) -> dict[str, Any]:
        name = self.current.plan.name
        if planned.name != name:
            message = f"the flow is named `{planned.name}` now; it runs as `{name}`"
            raise ConfigError.of("run.renamed", message, fix="stop it, and run it under its new name")
        with self._turn:
            self._begun.clear()
            self._planned = planned
            current = self.current
        current.mode.stop(False)
        return {"reloaded": self._begun.wait(RELOADED_WITHIN), "digest": planned.digest}


def added(former: Outcome, later: Outcome) -> Outcome:
    """How two runs ended of which one went on where the other had stopped: as the later did, with the rows of both."""
    words = ("read", "written", "rejected", "dropped")
    counts = {word: getattr(former, word) + getattr(later, word) for word in words}
    steps, rejects = (_summed(getattr(former, name), getattr(later, name)) for name in ("steps", "rejects"))
    return replace(
        later,
        **counts,
        steps=steps,
        rejects=rejects,
        seconds=former.seconds + later.seconds,
        nothing_new=former.nothing_new and later.nothing_new,
    )


def _summed(a: Mapping[str, Mapping[str, int]], b: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    total = {name: dict(counts) for name, counts in a.items()}
    for name, counts in b.items():
        for word, count in counts.items():
            total.setdefault(name, {})[word] = total.get(name, {}).get(word, 0) + count
    return total


class _Run:
    """The mode's thread, and the stop and abort orders it was given."""

    def __init__(self, plan: Plan, host: HostApi) -> None:
        self.plan, self.host = plan, host
        self.mode = cast(Mode, host.component(plan.mode["uses"], plan.mode.get("with") or {}, "mode", Path(plan.base)))
        self.done = threading.Event()
        self.outcome: Outcome | None = None
        self.failure: BaseException | None = None
        self.orders = 0
        self.deadline = float("inf")

    def supervise(self, received: list[int], progress: Progress | None) -> Outcome:
        started = time.monotonic()
        # Daemon: a component that never returns must not keep an aborted process alive.
        threading.Thread(target=self._work, name=f"flow-{self.plan.name}", daemon=True).start()
        watching = threading.Thread(target=self._watch, args=(progress,), name="progress", daemon=True)
        watching.start()
        while not self.done.wait(BEAT):
            if len(received) > self.orders or time.monotonic() > self.deadline:
                if self.orders >= 2:
                    return self._aborted(Outcome("failed", seconds=time.monotonic() - started))
                self._order()
        watching.join(GRACE)
        if self.failure is not None:
            raise self.failure
        outcome = self.outcome or Outcome("failed", seconds=time.monotonic() - started)
        return self._aborted(outcome) if self.orders >= 2 and outcome.status != "finished" else outcome

    def _work(self) -> None:
        try:
            self.outcome = self.mode.run(self.plan, self.host)
        except BaseException as error:
            self.failure = error
        finally:
            self.done.set()

    def _watch(self, progress: Progress | None) -> None:
        # Apart from the supervisor, which must see signals while a runner is slow to answer.
        while progress is not None and not self.done.wait(BEAT):
            with suppress(DataflareError):
                progress(self.mode.command("status", {}))

    def _order(self) -> None:
        """The next order: stop at a barrier, then leave at once."""
        self.orders += 1
        patience = float(self.plan.options.get("drain_timeout") or DRAIN_TIMEOUT) if self.orders == 1 else 0.0
        self.deadline = time.monotonic() + patience + GRACE
        order = (lambda: self.mode.stop(False)) if self.orders == 1 else (lambda: self.mode.command("abort", {}))
        threading.Thread(target=self._until_taken, args=(order,), name="order", daemon=True).start()

    def _until_taken(self, order: Callable[[], object]) -> None:
        # A signal may come before the runner takes commands.
        while not self.done.is_set():
            try:
                order()
                return
            except DataflareError:
                self.done.wait(BEAT)

    def _aborted(self, outcome: Outcome) -> Outcome:
        cause = "it did not stop in time, or was told to leave at once"
        fix = "run it again: it continues after the last committed epoch"
        message = "the flow was left before its last epoch was committed"
        problem = Problem("run.aborted", message, kind="fatal", cause=cause, fix=fix)
        return replace(outcome, status="failed", problems=outcome.problems or (problem,))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The SIGINT and SIGTERM received; stays empty outside the main thread."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def outcome_json(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """What scripts read of a run: the last line of ``dataflare run --json``.

    ``results``: where each sink's rows are; ``place`` is None where its configuration names none.
    """
    return {
        "flow": plan.name,
        "status": outcome.status,
        "guarantee": outcome.guarantee or plan.guarantee.effective,
        "epoch": outcome.epoch,
        "rows": {word: getattr(outcome, word) for word in ("read", "written", "rejected", "dropped")},
        "seconds": round(outcome.seconds, 3),
        "nothing_new": outcome.nothing_new,
        "steps": {name: dict(counts) for name, counts in outcome.steps.items()},
        "results": [
            {"sink": step.name, "uses": step.uses, "place": place_of(plan, step.config)}
            for step in plan.steps.values()
            if step.kind == "sink"
        ],
        "state": place_of(plan, plan.state.get("with") or {}) or plan.state.get("uses"),
        "problems": [problem.as_json() for problem in outcome.problems],
    }


def place_of(plan: Plan, config: Mapping[str, Any]) -> str | None:
    """The path or address that a configuration names, without a password."""
    if isinstance(path := config.get("path"), str):
        return str(Path(plan.base) / path)
    for word in ADDRESSES:
        if isinstance(address := config.get(word), str):
            shown = without_password(address)
            return f"{shown} ({config['table']})" if isinstance(config.get("table"), str) else shown
    return None
