"""The runner that a mode sees: one flow, in this process or in one that took it over from it.

A plugin's code that runs in a flow's own process cannot be taken out of it again. So a new process is started beside,
which makes everything ready and tries the new code; then the flow comes to rest at a barrier, and the new process takes
the leases by their tokens. It is on trial for one epoch: if that is not committed, the leases come back, and the flow
goes on where it was before. This process stays what was launched: commands and signals come to it, its exit code is the
run's.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, wait
from typing import TYPE_CHECKING, Any, Protocol

from dataflare import crash
from dataflare.errors import DataflareError, Problem, StateError, problem_of
from dataflare_host.kinds import Outcome
from dataflare_pipeline.handover.held import interpreter
from dataflare_pipeline.handover.leaving import flow_of, refuse_tied
from dataflare_pipeline.handover.loaded import others
from dataflare_pipeline.handover.process import RunnerProcess, Told
from dataflare_pipeline.handover.warming import libraries
from dataflare_pipeline.runner import ANSWER_WITHIN, HANDED, FlowRunner

if TYPE_CHECKING:
    from dataflare_pipeline.asked import Answer

log = logging.getLogger("dataflare.pipeline")
Json = Any
PREPARED_WITHIN = 60.0
MARGIN = 3.0
"""Seconds beyond the probation, after which the process on trial is not believed to say anything any more."""
TAKEN_WITHIN = 30.0
ROUNDS, FEW = 5, 10_000
"""What changes while a process makes ready follows it in rounds, until about so many keys are left for the barrier."""
GRACE = 2.0
"""Seconds that a process whose trial is over has to end by itself."""
MEND = "mend the new version; what it wrote to stderr may say why"
ENDING = frozenset(("stop", "drain", "abort"))
AT_ONCE = ENDING | {"status"}
"""Commands that are answered before the flow has begun."""


class Holder(Protocol):
    """Who runs the flow now."""

    def command(self, name: str, args: dict[str, Json]) -> Answer:
        """A command to the flow."""

    def leaving(self, name: str, value: Json = None) -> Told:
        """Something of ``Leaving``."""

    def outcome(self) -> Outcome:
        """How the flow ended there; ``HANDED``: it goes on elsewhere."""


class Here:
    """The flow is in this process."""

    def __init__(self, runner: FlowRunner) -> None:
        self._runner = runner

    def command(self, name: str, args: dict[str, Json]) -> Answer:
        return self._runner.command(name, args)

    def leaving(self, name: str, value: Json = None) -> Told:
        return self._runner.leaving.answer(name, value or {})

    def outcome(self) -> Outcome:
        return self._runner.run()


class There:
    """The flow is in another process."""

    def __init__(self, process: RunnerProcess) -> None:
        self.process = process

    def command(self, name: str, args: dict[str, Json]) -> Answer:
        answer: Answer = self.process.ask("command", {"name": name, "args": args})[0]
        return answer

    def leaving(self, name: str, value: Json = None) -> Told:
        return self.process.ask(name, value)

    def outcome(self) -> Outcome:
        try:
            return self.process.ended.result()
        except DataflareError as error:
            return Outcome("failed", problems=error.problems)
        finally:
            self.process.end(GRACE)


class Relay:
    """A ``Runner``. Commands may come from any thread."""

    def __init__(self, runner: FlowRunner) -> None:
        self.here = runner
        """The runner of this process, which has the flow first."""
        self._session = runner.session
        self._holder: Holder = Here(runner)
        self._trying: There | None = None
        """The process on trial: the flow is there, and may come back."""
        self._orders: list[tuple[str, dict[str, Json]]] = []
        self._turn = threading.Lock()
        self._begun = threading.Event()
        """It is known where the flow begins."""
        self._reloading = threading.Lock()
        runner.session.budget.on_change(self._resize)

    def run(self) -> Outcome:
        """Run the flow to its end, wherever it goes on. Raises DataflareError where it cannot begin."""
        try:
            if others(self._session):
                self._begin_there()
        finally:
            self._begun.set()
        while True:
            outcome = self._holder.outcome()
            if outcome.status != HANDED:
                return outcome

    def _begin_there(self) -> None:
        """This process has imported older code of a plugin: the flow begins in a new one."""
        try:
            refuse_tied(self._session)
        except StateError as error:
            log.warning("%s: it runs with the code that was loaded first", error)
            return
        process = RunnerProcess(interpreter(self._session.plan))
        try:
            process.ask("begin", {**flow_of(self._session), "host": self._session.host.settings()})
        except BaseException:
            process.end(0)
            raise
        with self._turn:
            self._holder, orders = There(process), list(self._orders)
        for name, args in orders:
            self._holder.command(name, args)

    def peers(self, alive: dict[str, str]) -> None:
        """Other runners: this engine runs whole regions only, so there is nobody to talk to."""

    def command(self, name: str, args: dict[str, Json]) -> Answer:
        """A command, to whoever runs the flow now. Raises what that raises, StateError ``reload.busy``."""
        if name not in AT_ONCE:
            self._begun.wait(ANSWER_WITHIN)
        if name == "swap":
            return self._swap(args)
        with self._turn:
            holder, trying = self._holder, self._trying
            if name in ENDING:
                self._orders.append((name, args))
        if trying is None:
            return holder.command(name, args)
        # An order to end goes to both: it holds for whichever of them goes on.
        answer = holder.command(name, args) if name in ENDING else None
        try:
            return trying.command(name, args)
        except (StateError, TimeoutError):
            return holder.command(name, args) if answer is None else answer

    def _swap(self, args: dict[str, Json]) -> Answer:
        if not self._reloading.acquire(blocking=False):
            message = f"another reload of `{self._session.plan.name}` is under way"
            raise StateError.of("reload.busy", message)
        try:
            return self._holder.command("swap", args)
        except StateError as error:
            if error.code != "reload.inline":
                raise
            return self._hand_over(str(args.get("plugin")), args.get("version"))
        finally:
            self._reloading.release()

    # --- from one process to the next --------------------------------------------------------------

    def _hand_over(self, plugin: str, version: str | None) -> Answer:
        """Let a new process go on. Raises DataflareError: why that cannot be; then everything is as it was."""
        holder = self._holder
        brief, _ = holder.leaving("brief", {"plugin": plugin, "version": version})
        try:
            process = RunnerProcess(interpreter(self._session.plan))
            try:
                self._prepare(process, holder, {**brief, "host": self._session.host.settings(), "modules": libraries()})
                crash.point("prepared-beside")
                rest, changes = holder.leaving("rest")
            except BaseException:
                process.end(0)
                raise
        except BaseException:
            holder.leaving("back")
            raise
        return self._tried(holder, There(process), rest, changes)

    def _prepare(self, process: RunnerProcess, holder: Holder, brief: Json) -> None:
        until = time.monotonic() + PREPARED_WITHIN
        try:
            process.ask("prepare", brief, within=PREPARED_WITHIN)
            recent = holder.leaving("recent", {"plugin": brief["plugin"]})
            process.ask("shadow", *recent, within=until - time.monotonic())
            for _ in range(ROUNDS):
                told, changes = holder.leaving("changes")
                process.ask("follow", told, changes, within=until - time.monotonic())
                if told["keys"] <= FEW:
                    break
        except TimeoutError as error:
            message = f"the new process was not ready within {PREPARED_WITHIN:.0f} s"
            raise StateError.of(
                "reload.not_ready", message, fix="mend the new version: look what hangs in it"
            ) from error
        except StateError as error:
            if error.code != "run.process_lost":
                raise
            message = "the new process ended before it was ready"
            raise StateError.of("reload.not_ready", message, cause=error.problems[0].cause, fix=MEND) from error

    def _tried(self, holder: Holder, trying: There, rest: Json, changes: list[bytes]) -> Answer:
        """What came of the trial. The flow is at rest."""
        process = trying.process
        try:
            process.ask("take", rest, changes, within=TAKEN_WITHIN)
            with self._turn:
                self._trying, orders = trying, list(self._orders)
            for name, args in orders:
                trying.command(name, args)
            wait([process.tried, process.ended], self._session.probation + MARGIN, FIRST_COMPLETED)
            told = self._told(process)
            if told["outcome"] == "kept":
                return self._keep(holder, trying, told)
            problem, replayed = told["problem"], told["replayed"]
            process.end(GRACE)
        except (DataflareError, TimeoutError) as error:
            problem, replayed = problem_of(error, "reload.failed").as_json(), process.replayed
            process.end(0)
        return self._back(holder, trying, rest, problem, replayed)

    def _told(self, process: RunnerProcess) -> Answer:
        """What came of the trial, as far as the process said so. Raises StateError where it said nothing."""
        if process.tried.done():
            told: Answer = process.tried.result()
            return told
        if not process.ended.done():
            message = "no epoch with the new version was committed in time"
            raise StateError.of("reload.timeout", message)
        problems = process.ended.result().problems
        told_ = problems[0] if problems else Problem("reload.failed", "the new version ended at once")
        return {"outcome": "rolled_back", "problem": told_.as_json(), "replayed": process.replayed}

    def _keep(self, holder: Holder, trying: There, told: Answer) -> Answer:
        with self._turn:
            self._holder, self._trying = trying, None
        crash.point("given-away")
        holder.leaving("away")
        return told

    def _back(self, holder: Holder, trying: There, rest: Json, problem: Json, replayed: int) -> Answer:
        """The process on trial has ended: the flow goes on where it was, unless an epoch was committed meanwhile."""
        if holder.leaving("moved")[0]:
            return self._keep(holder, trying, {"outcome": "kept", "problem": problem, "pause_ms": 0.0, "replayed": 0})
        with self._turn:
            self._trying = None
        log.warning("the new version is taken back: %s", problem["message"])
        holder.leaving("back")
        crash.point("taken-back")
        since = min(region["since"] for region in rest["regions"].values())
        pause = round(1000 * (time.monotonic() - since), 1)
        return {"outcome": "rolled_back", "problem": problem, "pause_ms": pause, "replayed": replayed}

    def _resize(self) -> None:
        """The budget changed; this process's own runner hears of it by itself."""
        budget = self._session.budget
        for each in (self._holder, self._trying):
            if isinstance(each, There):
                each.process.ask("budget", [budget.memory, budget.cpu])
