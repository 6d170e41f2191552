"""From a flow to a plan: every component found and configured, schemas pushed, the guarantee computed.

All that is wrong is reported at once, each with its place in the file; nothing has started then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, DataflareError, Problem
from dataflare.local import PREFIX
from dataflare_flow import schemas
from dataflare_flow.columns import columns_read
from dataflare_flow.document import Document, child, read_document
from dataflare_flow.flow import Flow, read_flow
from dataflare_flow.graph import check_graph, in_order, step_of, unused
from dataflare_flow.guarantee import guarantee_of
from dataflare_flow.resolve import KINDS, Resolved, Resolver, asked
from dataflare_flow.schemas import Outputs
from dataflare_flow.tags import Tags, tags_of
from dataflare_flow.times import check_times
from dataflare_flow.vocabulary import LEVELS
from dataflare_flow.words import Reading
from dataflare_host.plan import MAIN, Edge, Guarantee, Plan, StepPlan

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_host.app import Host

INTERVAL = 1.0
"""Seconds between checkpoints where the flow does not say."""
_OPTIONS = ("time", "max_rejects", "drain_timeout", "keep", "on_schema_change")
_STATEFUL = ("timer", "watermark", "finish", "snapshot", "restore")
"""Operations of a processor whose rows depend on more than the batch at hand."""


def plan_flow(
    flow: Flow | Path | str | Mapping[str, Any],
    host: Host,
    *,
    mode: str | None = None,
    guarantee: str | None = None,
    check: bool = False,
    base: Path | None = None,
) -> Plan:
    """The plan of a flow, a flow file or a flow as a mapping. Raises ConfigError with every problem.

    ``mode`` and ``guarantee`` override the flow's; ``check`` asks each component whether it could work now;
    ``base`` is where relative paths of a mapping start.
    """
    read, reading = _read(flow, base)
    if mode is not None:
        read = replace(read, mode={"uses": mode})
    if guarantee is not None:
        if guarantee not in LEVELS:
            raise ConfigError.of("flow.type", f"there is no guarantee `{guarantee}`", fix=f"use {', '.join(LEVELS)}")
        read = replace(read, guarantee=guarantee)
    check_graph(read, reading)
    host.enter(read.base)
    plan = _Planning(read, reading, host).plan(check)
    if reading.problems or plan is None:
        raise ConfigError(*_distinct(reading.problems))
    return plan


def _read(flow: Flow | Path | str | Mapping[str, Any], base: Path | None) -> tuple[Flow, Reading]:
    if isinstance(flow, Flow):
        return flow, Reading(flow.document if flow.file else Document({}))
    if isinstance(flow, Mapping):
        return read_flow(Document.of(flow), base=base or Path.cwd())
    return read_flow(read_document(Path(flow)), Path(flow))


def _distinct(problems: list[Problem]) -> list[Problem]:
    seen = {(each.code, each.message, each.file, each.line or each.pointer, each.column): each for each in problems}
    return sorted(seen.values(), key=lambda each: (each.line or 0, each.column or 0))


class _Planning:
    """One planning of one flow; problems go to ``reading``, whatever can still be looked at is looked at."""

    def __init__(self, flow: Flow, reading: Reading, host: Host) -> None:
        self.reading, self.host = reading, host
        self.resolver = Resolver(flow, reading, host)
        self.flow = self.resolver.flow

    def plan(self, check: bool) -> Plan | None:
        around = {word: self.resolver.around(word) for word in KINDS}
        self.resolver.check_plugins()
        for step in unused(self.flow):
            fix = "remove it, or read from it"
            self.resolver.warn("flow.unused", f"nothing reads from `{step.name}`", step.pointer, fix)
        ordered = in_order(self.flow)
        resolved = [each for each in map(self.resolver.step, ordered) if each is not None]
        for name in self.flow.steps.keys() - {step.name for step in ordered}:
            self.resolver.step(self.flow.steps[name])  # on or behind a cycle: still looked at by itself
        for each in resolved if check else ():
            said = asked(each, self.reading.add, "plan.check_failed", each.driver.check) or []
            self.reading.add(*(problem.at(pointer=each.place + (problem.pointer or "")) for problem in said))
        found = schemas.push(resolved, self.reading.add)
        check_times(self.flow, [each for each in resolved if each.step.name in found], found, self.reading.add)
        if self.reading.problems or len(found) < len(self.flow.steps):
            return None
        columns, found = self._narrowed(resolved, found)
        tags = tags_of(resolved, found, self.reading.add)
        steps = {each.step.name: self._step(each, found[each.step.name]) for each in resolved}
        edges = self._edges(resolved, found, columns, tags)
        guarantee = self._guarantee(steps, edges, around)
        plan = self._assembled(resolved, steps, edges, guarantee)
        self._consent(plan, around)
        return plan

    # --- schemas ------------------------------------------------------------------------------------------

    def _narrowed(
        self, resolved: list[Resolved], found: dict[str, Outputs]
    ) -> tuple[dict[str, list[str]], dict[str, Outputs]]:
        """The columns that sources are asked for, and the schemas that follow from it."""
        times = {each.step.name: {**self.flow.time, **each.step.time}.get("column") for each in resolved}
        extra = {name: column for name, column in times.items() if column}
        columns = columns_read(resolved, found, extra)
        if not columns:
            return {}, found
        known = {each.step.name: found[each.step.name] for each in resolved if each.step.kind == "source"}
        for name, kept in columns.items():
            whole = found[name].schemas[MAIN]
            assert whole is not None
            known[name] = Outputs({MAIN: whole.select(kept)})
        problems: list[Problem] = []
        again = schemas.push(resolved, problems.append, known)
        # a step that asks for more than it says keeps all columns
        return ({}, found) if problems or len(again) < len(found) else (columns, again)

    def _edges(
        self,
        resolved: list[Resolved],
        found: Mapping[str, Outputs],
        columns: Mapping[str, list[str]],
        tags: Mapping[tuple[str, str], Tags],
    ) -> tuple[Edge, ...]:
        edges = []
        for each in resolved:
            for name, reference in each.step.inputs:
                source, output = step_of(reference), reference.partition(".")[2] or MAIN
                schema = found[source].schemas.get(output)
                sensitive = tags.get((source, output), {})
                edges.append(
                    Edge(
                        source,
                        output,
                        each.step.name,
                        name,
                        exchange="key" if each.keyed else "forward",
                        schema=None if schema is None else schema.as_json(),
                        tags={column: sorted(words) for column, words in sensitive.items()},
                        columns=tuple(columns[source]) if source in columns else None,
                    )
                )
        return tuple(edges)

    # --- the plan -------------------------------------------------------------------------------------------

    def _step(self, each: Resolved, outputs: Outputs) -> StepPlan:
        from dataflare.calling import is_overridden
        from dataflare.config import dump

        step, entry = each.step, each.entry
        abilities = _abilities(each)
        lanes = step.lanes or each.component.spec.lanes
        if (lanes or 1) > 1 and step.kind == "processor" and is_overridden(each.component, "snapshot"):
            message = f"`{step.name}` keeps its own snapshot, so it runs in one lane"
            self.reading.note(child(step.pointer, "lanes"), "plan.lanes", message, "remove `lanes`")
        return StepPlan(
            name=step.name,
            kind=step.kind,
            uses=each.uses,
            plugin=entry.plugin,
            version=entry.version,
            config=dump(each.component),
            abilities=abilities,
            secrets=each.secrets,
            grants=self.host.grants(entry.plugin, step.grants),
            lanes=lanes,
            place=step.place,
            on_error=step.on_error,
            every=step.every,
            outputs={name: None if schema is None else schema.as_json() for name, schema in outputs.schemas.items()},
            keyed=each.keyed,
            summary=each.component.spec.summary,
        )

    def _guarantee(
        self, steps: dict[str, StepPlan], edges: tuple[Edge, ...], around: Mapping[str, Component | None]
    ) -> Guarantee:
        def declared(word: str) -> Mapping[str, Any]:
            component = around[word]
            return {} if component is None else component.spec.declared

        promise, problems = guarantee_of(
            steps,
            edges,
            declared("state"),
            declared("mode"),
            wanted=self.flow.guarantee,
            sinks_wanted={step.name: step.guarantee for step in self.flow.steps.values() if step.guarantee},
            on_commit=[step.name for step in self.flow.steps.values() if step.deliver == "on_commit"],
        )
        self.reading.add(*problems)
        return promise

    def _assembled(
        self, resolved: list[Resolved], steps: dict[str, StepPlan], edges: tuple[Edge, ...], guarantee: Guarantee
    ) -> Plan:
        flow = self.flow
        options: dict[str, Any] = {key: value for key in _OPTIONS if (value := getattr(flow, key)) not in (None, {})}
        own = [step for step in flow.steps.values() if step.kind == "source"]
        told = {
            "times": {step.name: step.time for step in own if step.time},
            "schema_rules": {step.name: step.on_schema_change for step in own if step.on_schema_change},
            "step_rejects": {
                step.name: step.max_rejects for step in flow.steps.values() if step.max_rejects is not None
            },
            "not_shippable": [step.name for step in flow.steps.values() if step.uses.startswith(PREFIX)],
            "warnings": self.resolver.warnings,
        }
        return Plan(
            flow=flow.to_mapping(),
            steps=steps,
            edges=edges,
            guarantee=guarantee,
            name=flow.name,
            mode=flow.mode,
            engine=flow.engine,
            state=flow.state,
            checkpoint={"interval": INTERVAL, **flow.checkpoint},
            options=options | {key: value for key, value in told.items() if value},
            base=str(flow.base.absolute()),
            owner=self.host.principal.name,
            artifacts=_artifacts(resolved),
        ).digested()

    def _consent(self, plan: Plan, around: Mapping[str, Component | None]) -> None:
        """What the mode, and the plugins' ``check_plan`` hooks, have against the plan."""
        from dataflare.calling import bind

        mode = around["mode"]
        if mode is None:
            return
        if mode.spec.get("ships") and (local := plan.options.get("not_shippable")):
            message = f"`{plan.mode['uses']}` runs flows elsewhere, and {', '.join(local)} live in this process only"
            fix = "put the code into a file beside the flow: `./file.py/name`"
            self.reading.note("/mode", "plan.not_shippable", message, fix)
        try:
            self.reading.add(*(bind(mode, "check")({"plan": plan, "host": self.host}) or ()))
        except DataflareError as error:
            self.reading.add(*error.problems)
        if not self.reading.problems:
            self.reading.add(*self.host.check_plan(plan))


def _artifacts(resolved: list[Resolved]) -> dict[str, dict[str, str]]:
    """The bare files that the flow runs, by the name the flow has for them."""
    files = {each.entry.plugin: each.entry.file for each in resolved if each.entry.file is not None}
    return {
        name: {"kind": "file", "digest": "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()}
        for name, file in files.items()
    }


def _abilities(each: Resolved) -> dict[str, Any]:
    """What the component declares, as JSON, and what the engine must know beside it."""
    from dataflare.calling import is_overridden
    from dataflare.state import declared_states

    spec, kind = each.component.spec, each.step.kind
    declared = {name: _json(value) for name, value in spec.declared.items() if _is_json(value)}
    keeps = kind == "processor" and (
        any(is_overridden(each.component, name) for name in _STATEFUL) or bool(declared_states(type(each.component)))
    )
    found = {**declared, "version": spec.version, "stateful": keeps}
    return {**found, "replay": each.driver.replay} if kind == "source" else found


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, (list, tuple)) else value
