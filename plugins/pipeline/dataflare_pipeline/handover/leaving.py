"""How a runner leaves its flow to another process: it says what there is to go on with, comes to rest, and waits."""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, StateError
from dataflare.hosting import release
from dataflare.local import PREFIX as LOCAL
from dataflare.resource import Resources
from dataflare_pipeline.asked import Leave
from dataflare_pipeline.handover.preloaded import packed
from dataflare_pipeline.operator import RECENT, ProcessorOp
from dataflare_pipeline.work import Counts, ipc

if TYPE_CHECKING:
    from dataflare.checkpoint import StateChange
    from dataflare_pipeline.runner import FlowRunner
    from dataflare_pipeline.session import Session

log = logging.getLogger("dataflare.pipeline")
Json = Any
REST_WITHIN = 60.0
READING_WITHIN = 10.0
STOP = "stop the flow and run it again: `dataflare flow stop`, `dataflare run`"


class Leaving:
    """The runner's side of it. One at a time; ``back`` or ``away`` follows ``rest``."""

    def __init__(self, runner: FlowRunner) -> None:
        self._runner = runner
        self._leaves: dict[str, Leave] = {}
        self._epochs: dict[str, int] = {}

    def answer(self, name: str, words: Mapping[str, Json]) -> tuple[Json, list[bytes]]:
        """What the method ``name`` gives: JSON, and bytes beside it."""
        given = getattr(self, name)(**words)
        return given if isinstance(given, tuple) else (given, [])

    def brief(self, plugin: str, version: str | None) -> Json:
        """What a new process has to know before it can go on with the flow; from now on recent batches are kept.

        Raises StateError ``reload.tied`` where the flow cannot go to another process.
        """
        session = self._runner.session
        steps = [step for step in session.plan.steps.values() if step.plugin == plugin]
        if not steps:
            raise ConfigError.of("reload.not_used", f"no step of `{session.plan.name}` is of the plugin `{plugin}`")
        refuse_tied(session)
        for run in self._runner.regions.values():
            run.changed = queue.SimpleQueue()
        for operator in self._operators(plugin):
            if not operator.recent.maxlen:
                operator.recent = deque(operator.recent, RECENT)
        held = session.host.table(session.generation).plugins.get(plugin)
        told = {"plugin": plugin, "version": version, "manifest": None if held is None else held.as_json()}
        return {**told, **flow_of(session)}

    def recent(self, plugin: str) -> tuple[Json, list[bytes]]:
        """The last batches of the plugin's processors: step and input of each, and the rows as Arrow IPC."""
        told, parts, schemas = [], [], {}
        for operator in self._operators(plugin):
            if operator.first != operator.step or operator.context.lane:
                continue  # compiled into one with others: these are not its own rows
            known = dict(operator.aligned.schemas)
            schemas[operator.step] = {input: schema.as_json() for input, schema in known.items()}
            for batch, input in list(operator.recent):
                ingested = batch.envelope.ingested
                at = None if ingested is None else ingested.isoformat()
                told.append({"step": operator.step, "input": input, "ingested": at})
                parts.append(ipc(batch.arrow))
        return {"batches": told, "schemas": schemas}, parts

    def changes(self) -> tuple[Json, list[bytes]]:
        """The keys that epochs have changed since this was last asked: how many, and what became of them by region."""
        found = {name: self._changed(name) for name in self._runner.regions}
        told = {"regions": list(found), "keys": sum(map(len, found.values()))}
        return told, [packed(changes) for changes in found.values()]

    def rest(self) -> tuple[Json, list[bytes]]:
        """Bring every region to rest at its next barrier; what whoever goes on from there needs of it.

        Raises StateError ``run.not_running`` where none of them runs any more, ``run.no_answer``.
        """
        runner = self._runner
        self._leaves = {name: Leave() for name in runner.regions}
        for name, leave in self._leaves.items():
            runner.regions[name].requests.put(leave)
            runner.regions[name].wake()
        until, told = time.monotonic() + REST_WITHIN, {}
        try:
            for name, leave in self._leaves.items():
                try:
                    told[name] = leave.future.result(max(0.0, until - time.monotonic()))
                except StateError as error:
                    if error.code != "run.not_running":
                        raise
        except NotYet as error:
            self.back()
            message = f"the flow `{runner.session.plan.name}` did not come to a barrier within {REST_WITHIN:.0f} s"
            raise StateError.of("run.no_answer", message, kind="retry") from error
        except BaseException:
            self.back()
            raise
        if not told or runner.session.stopping.is_set():
            self.back()
            raise StateError.of("run.not_running", f"the flow `{runner.session.plan.name}` is not running any more")
        for name, region in told.items():
            run = runner.regions[name]
            longest = {operator.step: operator.longest for lane in run.lanes() for operator in lane.operators()}
            region |= {"counts": _plain(run.written), "rejects": run.rejects, "longest": longest}
        self._close_shared()
        self._epochs = {name: region["epoch"] for name, region in told.items()}
        for name, run in runner.regions.items():
            if name not in told:  # it has ended: what it counted goes with the first of the others
                next(iter(told.values()))["counts"] |= _plain(run.written)
        metrics = {step: dict(found.values) for step, found in runner.session.metrics.items() if found.values}
        changes = [packed(self._changed(name)) for name in told]
        return {"regions": told, "metrics": metrics, "started": runner.started}, changes

    def moved(self) -> bool:
        """Has an epoch been committed since the rest? Whoever went on has ended."""
        session = self._runner.session
        held = {name: session.store.load(session.plan.name, name) for name in self._epochs}
        return any(each is not None and each.epoch > self._epochs[name] for name, each in held.items())

    def uncommitted(self) -> int:
        """Rows that were read and are in no epoch."""
        return sum(run.uncommitted() for run in self._runner.regions.values())

    def back(self) -> None:
        """Go on here: whoever was to go on has ended. Waits until rows are read again."""
        resting = [name for name, leave in self._leaves.items() if leave.future.done()]
        self._decide(True)
        until = time.monotonic() + READING_WITHIN
        while time.monotonic() < until and self._runner.state == "running":
            if all(self._runner.regions[name].reading.wait(0.01) for name in resting):
                return

    def away(self) -> None:
        """Another process goes on with the flow, and with guests of its own."""
        session = self._runner.session
        release({type(session.component(step)) for step in session.plan.steps})
        self._decide(False)

    def _changed(self, region: str) -> list[StateChange]:
        found: list[StateChange] = []
        changed = self._runner.regions[region].changed
        with suppress(queue.Empty):
            while changed is not None:
                found += changed.get_nowait()
        return found

    def _close_shared(self) -> None:
        """What lanes share may be locked, or of use to one process only: whoever goes on opens its own."""
        sessions = [self._runner.session, *(run.session for run in self._runner.regions.values())]
        try:
            sessions[0].resources.close()
        except Exception:
            log.warning("something that lanes shared did not close", exc_info=True)
        fresh = Resources()
        for session in sessions:
            session.resources = fresh

    def _decide(self, back: bool) -> None:
        for run in self._runner.regions.values():
            run.changed = None
        for name, leave in self._leaves.items():
            self._runner.regions[name].requests.drop(leave)
            if not leave.back.done():
                leave.back.set_result(back)
        self._leaves = {}

    def _operators(self, plugin: str) -> Iterator[ProcessorOp]:
        steps = [step.name for step in self._runner.session.plan.steps.values() if step.plugin == plugin]
        for run in self._runner.regions.values():
            for step in steps:
                if step in run.region.steps:
                    yield from run.operators(step)


def flow_of(session: Session) -> Json:
    """A flow as another process has to be told of it."""
    return {
        "plan": session.plan.as_json(),
        "layout": asdict(session.part.layout),
        "budget": [session.budget.memory, session.budget.cpu],
    }


def _plain(counts: dict[str, Counts]) -> dict[str, list[int]]:
    return {step: [each.rows_in, each.rows_out, each.rejected, each.dropped] for step, each in counts.items()}


def refuse_tied(session: Session) -> None:
    """Raise StateError ``reload.tied`` for a flow of which something lives in this process only."""
    plan, part = session.plan, session.part
    cause = None
    if session.store.spec.get("shared") == "process":
        cause = f"its state is in this process only (`{plan.state['uses']}`)"
    for step in plan.steps.values():
        if step.uses.startswith(LOCAL):
            cause = f"`{step.name}` is an object of this program"
        elif step.kind == "source" and step.abilities.get("replay") == "none":
            cause = f"`{step.name}` cannot read again what it has read, and rows that come meanwhile would be lost"
    if {*part.leads} != {*part.layout.regions}:
        cause = "another process runs a part of it"
    if cause is not None:
        message = f"`{plan.name}` cannot go on in another process"
        raise StateError.of("reload.tied", message, cause=cause, fix=STOP)
