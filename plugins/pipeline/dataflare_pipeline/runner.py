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
from dataflare.store import Store
from dataflare_host.host import Event
from dataflare_host.kinds import Outcome
from dataflare_host.layout import Region
from dataflare_pipeline.asked import Answer, Edit, Replay, Swap, Sync
from dataflare_pipeline.ballot import Ballot
from dataflare_pipeline.exchange import Exchange
from dataflare_pipeline.former import refuse_former
from dataflare_pipeline.handover.leaving import Leaving
from dataflare_pipeline.handover.taking import Taking
from dataflare_pipeline.lease import Cancelled, Lease
from dataflare_pipeline.policy import Policy, StepFailed
from dataflare_pipeline.region import RegionRun
from dataflare_pipeline.reload import prepared
from dataflare_pipeline.replay import Wanted
from dataflare_pipeline.report import live_status, totals
from dataflare_pipeline.session import Session
from dataflare_pipeline.thresholds import Rejects
from dataflare_pipeline.waiting import Aborted

log = logging.getLogger("dataflare.pipeline")
HANDED = "handed"
"""How a run ends whose flow goes on in another process."""
RESTART = Policy("retry", attempts=5, delay=0.5, cap=30.0)
ANSWER_WITHIN = 60.0
Command = Callable[[dict[str, Any]], Answer]


class FlowRunner:
    """A ``Runner``: it knows nothing of where it runs."""

    def __init__(self, session: Session, taking: Taking | None = None) -> None:
        self.session = session
        self.leaving = Leaving(self)
        self.regions: dict[str, RegionRun] = {}
        self.started = time.monotonic() if taking is None else taking.started
        self._taking = taking
        self.problem: Problem | None = None
        self._ended: str | None = None
        self._begun = threading.Event()
        self._swapping = threading.Lock()
        self._commands: dict[str, Command] = {
            "status": lambda args: self.status(),
            "stop": lambda args: self._stop(final=False),
            "drain": lambda args: self._stop(final=bool(args.get("final"))),
            "abort": lambda args: self._abort(),
            "checkpoint": self._once_begun(lambda args: self._checkpoint()),
            "edit": self._once_begun(self._edit),
            "replay": self._once_begun(self._replay),
            "swap": self._once_begun(self._swap),
        }
        session.budget.on_change(self._resize)

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``stopping``, then how it ended."""
        if self._ended is not None:
            return self._ended
        if self.session.stopping.is_set():
            return "stopping"
        return "running" if self._begun.is_set() else "starting"

    def run(self) -> Outcome:
        """Run to the end, to a stop or to a failure."""
        store = self.session.store
        try:
            if self._taking is None:
                store.open(ctx=Context(flow=self.session.plan.name, base=self.session.base))
            try:
                endings = self._run_regions(store)
            finally:
                self._let_go(store)
        except Cancelled:
            return self._outcome("stopped", ())
        except Aborted:
            return self._outcome("failed", (_aborted(),))
        except Exception as error:
            known = _as_error(error)
            return self._outcome("failed", known.problems)
        if HANDED in endings:
            return Outcome(HANDED)
        return self._outcome("stopped" if "stopped" in endings else "finished", ())

    def peers(self, alive: dict[str, str]) -> None:
        """Other runners: this engine runs whole regions only, so there is nobody to talk to."""

    def command(self, name: str, args: dict[str, Any]) -> Answer:
        """A command of a person, a supervisor or a mode; from any thread. Raises ConfigError for an unknown one."""
        found = self._commands.get(name)
        if found is None:
            raise ConfigError.of(
                "run.unknown_command",
                f"a running flow has no command `{name}`",
                fix=f"one of {', '.join(self._commands)}",
            )
        return found(args)

    def status(self) -> Answer:
        """What ``dataflare flow status`` shows."""
        return live_status(self)

    # --- regions -----------------------------------------------------------------------------------

    def _run_regions(self, store: Store) -> list[str]:
        """Every region in a thread of its own; the first failure ends the others. Raises it."""
        endings: dict[str, str | BaseException] = {}
        layout, taking = self.session.part.layout, self._taking
        leases = {
            name: Lease(store, self.session.plan.name, name, self._wake, self.session.pace)
            for name in self.session.part.leads
        }
        rejects = Rejects(self.session.plan)
        try:
            for name, lease in leases.items():
                run = RegionRun(self.session, layout.regions[name], lease, rejects)
                if taking is None:
                    lease.acquire(self.session.stopping)
                self.regions[name] = run
                if taking is not None:
                    taking.take(run)
            if taking is None and not self.session.option("from_start", False):
                refuse_former(self.session)
            self._begun.set()
            if taking is None:
                self.session.host.emit(Event("flow.started", self.session.plan.name))
            # Daemons: a store that never answers must not keep an aborted process alive.
            threads = [
                threading.Thread(
                    target=self._supervise, args=(layout.regions[name], endings), name=f"region-{name}", daemon=True
                )
                for name in leases
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for name, lease in leases.items():
                # Whoever handed the flow over takes it back, and nobody else meanwhile.
                if name in self.regions and self.regions[name].tried_elsewhere:
                    lease.drop()
                else:
                    lease.release()
        failures = [ending for ending in endings.values() if isinstance(ending, BaseException)]
        if failures:
            raise next((f for f in failures if not isinstance(f, Aborted) and not _elsewhere(f)), failures[0])
        return [str(ending) for ending in endings.values()]

    def _supervise(self, region: Region, endings: dict[str, str | BaseException]) -> None:
        """Attempts of one region: again from its last checkpoint where the failure may pass."""
        run = self.regions[region.name]
        try:
            endings[region.name] = self._attempts(run)
            run.ended()
            run.requests.end(run.status.epoch)
        except Cancelled:
            endings[region.name] = "stopped"
            run.requests.end(None)
        except BaseException as error:
            endings[region.name] = error if isinstance(error, Aborted) else _as_error(error)
            run.requests.end(None)
            # The others finish their epoch and stop.
            self.session.stopping.set()
            self._wake()

    def _attempts(self, run: RegionRun) -> str:
        failures = 0
        while True:
            before = run.status.epoch
            try:
                ending = run.attempt()
                if ending != "again":
                    return ending
                if run.leaving is not None and not run.rest(run.leaving):
                    return HANDED
                failures = 0
            except BaseException as error:
                failures = 0 if run.status.epoch > before else failures
                trying = run.trial is not None  # the process that has handed the flow over goes on with it
                over = run.left_behind or failures >= RESTART.attempts or self.session.stopping.is_set() or trying
                if over or not _may_pass(error):
                    raise
                log.warning("region %s starts again from epoch %s: %s", run.region.name, run.status.epoch, error)
                run.status.problem = problem_of(error)
                self.session.stopping.wait(RESTART.wait(failures))
                failures += 1

    def _let_go(self, store: Store) -> None:
        """Close what all lanes shared; what does not close is only logged, since every epoch is safe."""
        for close in (self.session.resources.close, store.close):
            try:
                close()
            except Exception:
                log.warning("something that `%s` shared did not close", self.session.plan.name, exc_info=True)

    def _wake(self) -> None:
        for run in list(self.regions.values()):
            run.wake()

    def _resize(self) -> None:
        """The budget changed: channels take more or less from now on."""
        ports = [port for run in list(self.regions.values()) for lane in run.lanes() for port in list(lane.inbox.ports)]
        limits = self.session.port_limits(len(ports))
        for port in ports:
            port.resize(*limits)

    # --- commands ----------------------------------------------------------------------------------

    def _once_begun(self, command: Command) -> Command:
        """A command that needs the regions: it waits for them. Raises StateError where the flow does not get there."""

        def waiting(args: dict[str, Any]) -> Answer:
            if not self._begun.wait(ANSWER_WITHIN) or self._ended is not None:
                raise StateError.of("run.not_running", f"the flow `{self.session.plan.name}` is not running")
            return command(args)

        return waiting

    def _stop(self, *, final: bool) -> Answer:
        if final:
            self.session.final.set()
        self.session.stopping.set()
        self._wake()
        return {"stopping": True, "final": final}

    def _abort(self) -> Answer:
        self.session.aborting.set()
        self.session.stopping.set()
        self._wake()
        return {"aborting": True}

    def _checkpoint(self) -> Answer:
        asked = {name: run.requests.put(Sync()) for name, run in self.regions.items()}
        self._wake()
        return {"epochs": {name: self._answer(future)["epoch"] for name, future in asked.items()}}

    def _edit(self, args: dict[str, Any]) -> Answer:
        step = args.get("step")
        for run in self.regions.values():
            if step in run.region.steps and self.session.plan.steps[step].kind == "source":
                edited = run.requests.put(Edit(step, str(args.get("split")), args.get("position")))
                run.wake()
                return self._answer(edited)
        raise ConfigError.of("run.unknown_step", f"the flow has no source `{step}`")

    def _replay(self, args: dict[str, Any]) -> Answer:
        wanted = Wanted.of(args)
        asked = [run.requests.put(Replay(wanted)) for run in self.regions.values()]
        self._wake()
        answers = [self._answer(future) for future in asked]
        return {what: sum(answer[what] for answer in answers) for what in ("letters", "rows")}

    def _swap(self, args: dict[str, Any]) -> Answer:
        """Go on with a plugin as its set says now; ``{"outcome", "problem", "pause_ms", "replayed"}``."""
        plugin, version = str(args.get("plugin")), args.get("version")
        if not self._swapping.acquire(blocking=False):
            raise StateError.of("reload.busy", f"another reload of `{self.session.plan.name}` is under way")
        try:
            new, exchanges = prepared(self.session, self.regions, plugin, version)
            told = self._tried(new, plugin, exchanges)
            if told["outcome"] == "kept":
                self.session = new
            return told
        finally:
            self._swapping.release()

    def _tried(self, new: Session, plugin: str, exchanges: dict[str, Exchange | None]) -> Answer:
        """What came of a new version, in all regions that have it: one outcome, the longest pause."""
        ballot = Ballot(plugin, len(exchanges))
        asked = {name: Swap(new, plugin, ballot, exchange) for name, exchange in exchanges.items()}
        try:
            for name, swap in asked.items():
                self.regions[name].requests.put(swap)
                self.regions[name].wake()
            answers = self._answers(asked)
        except BaseException as error:
            ballot.no(str(error))
            raise
        finally:
            for exchange in exchanges.values():
                if exchange is not None:
                    exchange.drop()
        if not answers:
            raise StateError.of("run.not_running", f"the flow `{new.plan.name}` is not running any more")
        first = next((answer for answer in answers if answer["outcome"] != "kept"), answers[0])
        worst = max(answer["pause_ms"] for answer in answers)
        return {**first, "pause_ms": worst, "replayed": sum(answer["replayed"] for answer in answers)}

    def _answers(self, asked: dict[str, Swap]) -> list[Answer]:
        """What the regions answer that have not ended meanwhile."""
        answers = []
        for swap in asked.values():
            try:
                answers.append(self._answer(swap.future))
            except StateError as error:
                if error.code != "run.not_running":
                    raise
        return answers

    def _answer(self, future: Future[Answer]) -> Answer:
        """What a region answers. Raises StateError where that takes too long."""
        try:
            return future.result(ANSWER_WITHIN)
        except TimeoutError as error:
            raise StateError.of(
                "run.no_answer",
                f"the flow `{self.session.plan.name}` did not come to a barrier within {ANSWER_WITHIN:.0f} s",
                kind="retry",
                fix="look with `dataflare flow status` which step is slow; what was asked for is still to come",
            ) from error

    # --- the outcome -------------------------------------------------------------------------------

    def _outcome(self, status: str, problems: tuple[Problem, ...]) -> Outcome:
        self._ended = status
        self._begun.set()
        self.problem = problems[0] if problems else None
        for run in self.regions.values():
            run.requests.end(None)
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
        if not any(run.tried_elsewhere for run in self.regions.values()):
            self.session.host.emit(Event(f"flow.{status}", self.session.plan.name, {"epoch": outcome.epoch, **rows}))
        return outcome


def _elsewhere(error: BaseException) -> bool:
    return isinstance(error, DataflareError) and error.code == "reload.elsewhere"


def _may_pass(error: BaseException) -> bool:
    """May another attempt get further? Only where the failure says so of itself."""
    if isinstance(error, (Fenced, Aborted)):
        return False
    if isinstance(error, StepFailed):
        return error.retriable
    return isinstance(error, DataflareError) and bool(error.problems) and error.problems[0].kind == "retry"


def _as_error(error: BaseException) -> DataflareError:
    if isinstance(error, DataflareError):
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
