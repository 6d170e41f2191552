"""Runs one part of a flow: leases, regions, restarts after failures, commands, the outcome."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from dataflare.context import Context
from dataflare.errors import ConfigError, DataflareError, Fenced, Problem, StateError, problem_of
from dataflare_host.host import Event
from dataflare_host.kinds import Outcome, Store
from dataflare_host.layout import Region
from dataflare_pipeline.former import refuse_former
from dataflare_pipeline.lease import Lease
from dataflare_pipeline.policy import Policy, StepFailed
from dataflare_pipeline.region import Edit, RegionRun
from dataflare_pipeline.replay import Wanted
from dataflare_pipeline.report import live_status, totals
from dataflare_pipeline.session import Session
from dataflare_pipeline.waiting import Aborted

log = logging.getLogger("dataflare.pipeline")
RESTART = Policy("retry", attempts=5, delay=0.5, cap=30.0)
ANSWER_WITHIN = 60.0


class FlowRunner:
    """A ``Runner``: it knows nothing of where it runs."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.regions: dict[str, RegionRun] = {}
        self.started = time.monotonic()
        self.state = "starting"
        self.problem: Problem | None = None
        self._begun = threading.Event()
        self._commands: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "status": lambda args: self.status(),
            "stop": lambda args: self._stop(final=False),
            "drain": lambda args: self._stop(final=bool(args.get("final"))),
            "abort": lambda args: self._abort(),
            "checkpoint": self._once_begun(lambda args: self._checkpoint()),
            "edit": self._once_begun(self._edit),
            "replay": self._once_begun(self._replay),
        }

    def run(self) -> Outcome:
        """Run to the end, to a stop or to a failure."""
        store = self.session.store
        try:
            store.open(ctx=Context(flow=self.session.plan.name, base=self.session.base))
            try:
                endings = self._run_regions(store)
            finally:
                self._let_go(store)
        except DataflareError as error:
            return self._outcome("failed", error.problems)
        except Aborted:
            return self._outcome("failed", (_aborted(),))
        return self._outcome("stopped" if "stopped" in endings else "finished", ())

    def _let_go(self, store: Store) -> None:
        """Close what all lanes shared; a resource that does not close is only logged, since every epoch is safe."""
        try:
            self.session.resources.close()
        except Exception:
            log.warning("a resource of `%s` did not close", self.session.plan.name, exc_info=True)
        store.close()

    def peers(self, alive: dict[str, str]) -> None:
        """Other runners: this engine runs whole regions only, so there is nobody to talk to."""

    def command(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        """A command of a person, a supervisor or a mode; from any thread. Raises ConfigError for an unknown one."""
        found = self._commands.get(name)
        if found is None:
            raise ConfigError.of(
                "run.unknown_command",
                f"a running flow has no command `{name}`",
                fix=f"one of {', '.join(self._commands)}",
            )
        return found(args)

    def status(self) -> dict[str, Any]:
        """What ``dataflare flow status`` shows."""
        return live_status(self)

    # --- regions -----------------------------------------------------------------------------------

    def _run_regions(self, store: Store) -> list[str]:
        """Every region in a thread of its own; the first failure ends the others. Raises it."""
        endings: dict[str, str | BaseException] = {}
        layout = self.session.part.layout
        leases = {name: Lease(store, self.session.plan.name, name, self._wake) for name in self.session.part.leads}
        try:
            for name, lease in leases.items():
                lease.acquire(self.session.stopping)
                run = self.regions[name] = RegionRun(self.session, layout.regions[name], lease)
                replay = self.session.option("replay", None)
                run.replaying = None if replay is None else Wanted.of(replay)
            if not self.session.option("from_start", False):
                refuse_former(self.session)
            self.state = "running"
            self._begun.set()
            self.session.host.emit(Event("flow.started", self.session.plan.name))
            threads = [
                threading.Thread(target=self._supervise, args=(layout.regions[name], endings), name=f"region-{name}")
                for name in leases
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for lease in leases.values():
                lease.release()
        failures = [ending for ending in endings.values() if isinstance(ending, BaseException)]
        if failures:
            raise next((f for f in failures if not isinstance(f, Aborted)), failures[0])
        return [str(ending) for ending in endings.values()]

    def _supervise(self, region: Region, endings: dict[str, str | BaseException]) -> None:
        """Attempts of one region: again from its last checkpoint where the failure may pass."""
        run, failures = self.regions[region.name], 0
        while True:
            before = run.status.epoch
            try:
                ending = run.attempt()
                if ending == "again":
                    continue
                endings[region.name] = ending
                return
            except BaseException as error:
                failures = 0 if run.status.epoch > before else failures
                if not _may_pass(error) or failures >= RESTART.attempts or self.session.stopping.is_set():
                    endings[region.name] = _as_problem(error)
                    self._give_up()
                    return
                log.warning("region %s starts again from epoch %s: %s", region.name, run.status.epoch, error)
                run.status.problem = problem_of(error)
                self.session.stopping.wait(RESTART.wait(failures))
                failures += 1

    def _give_up(self) -> None:
        """One region failed: the others finish their epoch and stop."""
        self.session.stopping.set()
        self._wake()

    def _wake(self) -> None:
        for run in list(self.regions.values()):
            run.wake()

    # --- commands ----------------------------------------------------------------------------------

    def _once_begun(
        self, command: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """A command that needs the regions: it waits for them. Raises StateError where the flow does not get there."""

        def waiting(args: dict[str, Any]) -> dict[str, Any]:
            if not self._begun.wait(ANSWER_WITHIN) or self.state in ("finished", "stopped", "failed"):
                raise StateError.of("run.not_running", f"the flow `{self.session.plan.name}` is not running")
            return command(args)

        return waiting

    def _stop(self, *, final: bool) -> dict[str, Any]:
        if final:
            self.session.final.set()
        self.session.stopping.set()
        self.state = "stopping"
        self._wake()
        return {"stopping": True, "final": final}

    def _abort(self) -> dict[str, Any]:
        self.session.aborting.set()
        self.session.stopping.set()
        self._wake()
        return {"aborting": True}

    def _checkpoint(self) -> dict[str, Any]:
        asked: dict[str, Future[int]] = {}
        for name, run in self.regions.items():
            asked[name] = Future()
            run.wanted.append(asked[name])
            run.wake()
        return {"epochs": {name: future.result(ANSWER_WITHIN) for name, future in asked.items()}}

    def _edit(self, args: dict[str, Any]) -> dict[str, Any]:
        step = args["step"]
        for run in self.regions.values():
            if step in run.region.steps:
                edit = Edit(step, args["split"], args.get("position"))
                run.edits.append(edit)
                run.wake()
                return edit.future.result(ANSWER_WITHIN)
        raise ConfigError.of("run.unknown_step", f"the flow has no source `{step}`")

    def _replay(self, args: dict[str, Any]) -> dict[str, Any]:
        wanted = Wanted.of(args)
        found = list(wanted.letters(self.session.store, self.session.plan.name))
        for run in self.regions.values():
            if any(letter.step in run.region.steps for letter in found):
                run.replay_wanted = wanted
                run.wake()
        return {"letters": len(found), "rows": sum(letter.count for letter in found)}

    # --- the outcome -------------------------------------------------------------------------------

    def _outcome(self, status: str, problems: tuple[Problem, ...]) -> Outcome:
        self.state = status
        self._begun.set()
        self.problem = problems[0] if problems else None
        rows, steps = totals(self)
        outcome = Outcome(
            status=status,
            epoch=max((run.status.epoch for run in self.regions.values()), default=0),
            seconds=time.monotonic() - self.started,
            guarantee=self.session.plan.guarantee.effective,
            problems=problems,
            steps=steps,
            rejects={step: codes for run in self.regions.values() for step, codes in run.rejects.items()},
            nothing_new=bool(self.regions) and all(run.nothing_new for run in self.regions.values()),
            read=rows["read"],
            written=rows["written"],
            rejected=rows["rejected"],
            dropped=rows["dropped"],
        )
        self.session.host.emit(Event(f"flow.{status}", self.session.plan.name, {"epoch": outcome.epoch, **rows}))
        return outcome


def _may_pass(error: BaseException) -> bool:
    """May another attempt get further? Only where the failure says so of itself."""
    if isinstance(error, (Fenced, Aborted)):
        return False
    if isinstance(error, StepFailed):
        return error.retriable
    return isinstance(error, DataflareError) and bool(error.problems) and error.problems[0].kind == "retry"


def _as_problem(error: BaseException) -> BaseException:
    if isinstance(error, (DataflareError, Aborted)):
        return error
    log.error("the engine failed", exc_info=error)
    return StateError(problem_of(error, "internal.engine", fix="this is a defect of the engine: please report it"))


def _aborted() -> Problem:
    return Problem(
        "run.aborted",
        "the flow was left at once",
        "fatal",
        fix="nothing is lost: the next run goes on from the last epoch",
    )
