"""Making a new version of a plugin ready beside the running one, before anything stops.

Planned, its state taken over on a copy, run in the shadow on recent batches: whatever goes wrong here refuses the
reload, and the flow has not noticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, StateError
from dataflare.hosting import retain, warm
from dataflare.schema import Schema
from dataflare_host.plan import Plan, StepPlan
from dataflare_pipeline.epoch import check_fits
from dataflare_pipeline.exchange import Exchange, Turn
from dataflare_pipeline.handing import Borrowed
from dataflare_pipeline.operator import allowed
from dataflare_pipeline.shadow import try_positions, try_processor

if TYPE_CHECKING:
    from dataflare.checkpoint import Checkpoint
    from dataflare_pipeline.lane import Lane
    from dataflare_pipeline.region import RegionRun
    from dataflare_pipeline.session import Session

STOP = "stop the flow and run it again: `dataflare flow stop`, `dataflare run`; nothing is lost"
RECOVERED_WITHIN = 20.0
"""Seconds that a reload waits for a region that begins anew just now."""


def prepared(
    session: Session, regions: dict[str, RegionRun], plugin: str, version: str | None
) -> tuple[Session, dict[str, Exchange | None]]:
    """The session that goes on with the plugin as its set says now, and what takes over in each region that has it.

    Raises DataflareError: why that cannot be; then everything is as it was.
    """
    host = session.host
    host.enter(session.base)
    steps = [step for step in session.plan.steps.values() if step.plugin == plugin]
    if not steps:
        raise ConfigError.of("reload.not_used", f"no step of `{session.plan.name}` is of the plugin `{plugin}`")
    _check_version(session, plugin, steps[0].name, version)
    new = _planned(session, plugin)
    made: dict[str, Exchange | None] = {}
    try:
        for name, run in regions.items():
            own = frozenset(step.name for step in steps if step.name in run.region.steps)
            if own:
                made[name] = _beside(new, run, own)
    except BaseException:
        for exchange in made.values():
            if exchange is not None:
                exchange.drop()
        raise
    return new, made


def _check_version(session: Session, plugin: str, step: str, version: str | None) -> None:
    assert session.generation is not None
    held = session.host.table(session.generation).plugins.get(plugin)
    faulty = [each for each in session.host.table().faulty if each.id == plugin]
    if faulty:
        raise ConfigError(*faulty[0].problems)
    if held is None or not session.component(step).remote:
        message = f"`{plugin}` runs in this process: its code cannot be taken out of it again"
        raise StateError.of("reload.inline", message, fix=STOP)
    now = session.host.table().plugins[plugin]
    if version is not None and now.version != version:
        message = f"the set has `{plugin}` {now.version}, not {version}"
        raise ConfigError.of("reload.version", message, fix="add that version first: `dataflare plugin add`")
    if held == now:
        message = f"the flow runs `{plugin}` {now.version} as the set has it"
        raise ConfigError.of("reload.same", message, fix="add the new version first: `dataflare plugin add`")


def _planned(session: Session, plugin: str) -> Session:
    """The session by the flow's plan with the newest generation, where only the plugin's steps differ."""
    old, host = session.plan, session.host
    new = host.plan(old.flow, base=Path(old.base))
    check_same(old, new, plugin)
    return session.turned(new, host.table().generation)


def check_same(old: Plan, new: Plan, plugin: str) -> None:
    """Refuse a plan by which other things than the plugin's code would change.

    Raises StateError ``reload.plan``, ``reload.schema``, ``reload.guarantee``.
    """
    for name in {*old.steps, *new.steps}:
        mine, theirs = old.steps.get(name), new.steps.get(name)
        if mine is None or theirs is None or _shape(mine) != _shape(theirs):
            message = f"with the new `{plugin}` the step `{name}` is another one"
            raise StateError.of("reload.plan", message, fix=STOP)
    if _edges(old) != _edges(new):
        raise StateError.of("reload.plan", f"with the new `{plugin}` rows go other ways", fix=STOP)
    _check_schemas(old, new)
    if old.guarantee.effective != new.guarantee.effective:
        message = f"with the new `{plugin}` the flow is {new.guarantee.effective}, not {old.guarantee.effective}"
        raise StateError.of("reload.guarantee", message, fix=STOP)


def _shape(step: StepPlan) -> tuple[Any, ...]:
    # Its configuration is the flow's own: what a version adds to it by itself is the version's business.
    return step.kind, step.uses, step.keyed, step.lanes, step.on_error, step.every, step.place


def _edges(plan: Plan) -> list[tuple[str, str]]:
    return sorted((edge.id, edge.exchange) for edge in plan.edges)


def _check_schemas(old: Plan, new: Plan) -> None:
    """What is on an edge may only grow. Raises StateError ``reload.schema``."""
    before = {edge.id: edge.schema for edge in old.edges}
    for edge in new.edges:
        held = before[edge.id]
        if held is None or edge.schema is None:
            continue
        try:
            Schema.from_json(held).union(Schema.from_json(edge.schema))
        except ConfigError as error:
            message = f"the new version gives other types on `{edge.id}`"
            raise StateError.of("reload.schema", message, cause=error.problems[0].message, fix=STOP) from error


def _beside(new: Session, run: RegionRun, steps: frozenset[str]) -> Exchange | None:
    """Make the new version ready beside the running one, and try its processors on a copy of recent batches.

    None: the region has to begin anew with it.
    """
    held = new.store.load(new.plan.name, run.region.name)
    if held is None or not run.reading.wait(RECOVERED_WITHIN) or run.current is None:
        return None
    check_fits(held, new.plan, run.region)
    exchange = Exchange(run.current, new, steps)
    try:
        exchange.prepare()
        for step in (new.plan.steps[name] for name in sorted(steps)):
            if step.kind == "source":
                try_positions(new, step, held)
            for turn in exchange.turns(step.name)[:1]:
                _shadow(new, turn, held)
        number = sum(instances(lane, steps) for lane in run.lanes())
        for name in steps:  # whichever does not stay ends later, and the older one is at hand until then
            retain(type(run.session.component(name)), number)
            retain(type(new.component(name)), number)
        if exchange.fits:
            return exchange
        aside = exchange.step_aside()
        for name in steps:
            warm(type(new.component(name)), number)
        if aside:
            return exchange
    except BaseException:
        exchange.drop()
        raise
    exchange.drop()
    return None


def instances(lane: Lane, steps: frozenset[str]) -> int:
    """How many instances of these steps a lane has."""
    own = [operator.step for operator in lane.operators()]
    return sum(step in steps for step in {lane.step, *own})


def _shadow(new: Session, turn: Turn, held: Checkpoint) -> None:
    """Run the new version on what the lane saw last, over its state as it is."""
    step, old = new.plan.steps[turn.new.step], turn.old
    state = None if old.state is None else Borrowed(old.state, turn.handing)
    patience = {"opening": new.probation, "calling": allowed(new.patience, old.longest)}
    try_processor(new, step, held, state, old.aligned.schemas, old.recent, **patience)
