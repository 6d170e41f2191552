"""From a flow to a plan: every component found and configured, schemas pushed, the guarantee computed.

All that is wrong is reported at once, each with its place in the file; nothing has started then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, DataflareError, Problem, problem_of
from dataflare_host import schemas
from dataflare_host.document import Document, child, read_document
from dataflare_host.flow import Flow, Step, read_flow
from dataflare_host.graph import check_graph, in_order, step_of, unused
from dataflare_host.guarantee import guarantee_of
from dataflare_host.local import PREFIX
from dataflare_host.plan import MAIN, Edge, Guarantee, Plan, StepPlan
from dataflare_host.schemas import Outputs, Resolved, asked, place_problems
from dataflare_host.vocabulary import LEVELS, Reading

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_host.app import Host
    from dataflare_host.registry import Entry

INTERVAL = 1.0
"""Seconds between checkpoints where the flow does not say."""
_OPTIONS = ("time", "max_rejects", "drain_timeout", "keep", "on_schema_change")
_KINDS = {"mode": "mode", "engine": "engine", "state": "store"}


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
        self.flow, self.reading, self.host = replace(flow), reading, host
        self.warnings: list[dict[str, Any]] = []
        self.entries: dict[str, Entry] = {}
        self.secrets: dict[str, dict[str, str]] = {}

    def plan(self, check: bool) -> Plan | None:
        around = {word: self._around(word) for word in _KINDS}
        self._check_plugins()
        for step in unused(self.flow):
            self._warn("flow.unused", f"nothing reads from `{step.name}`", step.pointer, "remove it, or read from it")
        order = in_order(self.flow)
        resolved = [each for each in map(self._resolved, order) if each is not None]
        if check:
            for each in resolved:
                self.reading.add(*self._checked(each))
        found = schemas.push(resolved, self.reading.add)
        if self.reading.problems or len(found) < len(self.flow.steps):
            return None
        columns, found = self._narrowed(resolved, found)
        tags = schemas.tags_of(resolved, found, self.reading.add)
        steps = {each.step.name: self._step(each, found[each.step.name]) for each in resolved}
        edges = self._edges(resolved, found, columns, tags)
        guarantee = self._guarantee(steps, edges, around)
        plan = self._assembled(steps, edges, guarantee)
        self._consent(plan, around)
        return plan

    # --- around the steps -----------------------------------------------------------------------------

    def _around(self, word: str) -> Component | None:
        """The mode, engine or store; the flow's normal form of it is set."""
        given, kind = getattr(self.flow, word), _KINDS[word]
        try:
            if given is None:
                given = _filled(self.host.defaults().get(word), self.flow.name)
            if given is None:
                message, code = f"the flow has no {word}, and no plugin names one", f"plan.no_{word}"
                fix = f"write `{word}: plugin/component`, or install a plugin with [defaults]"
                self.reading.note(f"/{word}", code, message, fix)
                return None
            entry = self.host.table().find(kind, given["uses"], self.flow.base)
        except ConfigError as error:
            self.reading.add(*(problem.at(pointer=f"/{word}") for problem in error.problems))
            return None
        config = given.get("with") or {}
        setattr(self.flow, word, {"uses": entry.uses, "with": config})
        return self._made(f"/{word}", lambda: self.host.component(entry.uses, config, kind, self.flow.base))

    def _made(self, pointer: str, make: Callable[[], Component]) -> Component | None:
        try:
            return make()
        except DataflareError as error:
            self.reading.add(*place_problems(error, child(pointer, "with")))
        except Exception as error:
            self.reading.add(problem_of(error, "plugin.component_failed", kind="config", pointer=pointer))
        return None

    def _check_plugins(self) -> None:
        if not self.flow.plugins:
            return
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        for name, wanted in self.flow.plugins.items():
            pointer = child("/plugins", name)
            manifest = self.host.table().plugins.get(name)
            try:
                fits = manifest is None or SpecifierSet(wanted).contains(manifest.version, prereleases=True)
            except InvalidSpecifier:
                fix = 'write versions such as ">=1,<2"'
                self.reading.note(pointer, "flow.plugin_versions", f"`{wanted}` does not say versions", fix)
                continue
            if manifest is None:
                fix = f"install `dataflare-{name}`"
                self.reading.note(pointer, "flow.unknown_plugin", f"no plugin `{name}` is installed here", fix)
            elif not fits:
                message = f"the flow was written for `{name}` {wanted}; {manifest.version} is installed"
                self._warn("flow.plugin_version", message, pointer, f"install `dataflare-{name}` {wanted}")

    def _warn(self, code: str, message: str, pointer: str, fix: str) -> None:
        self.warnings.append({"code": code, "message": message, "pointer": pointer, "fix": fix})

    # --- components -------------------------------------------------------------------------------------

    def _resolved(self, step: Step) -> Resolved | None:
        if not step.uses:
            return None
        try:
            entry = self.host.table().find(step.kind, step.uses, self.flow.base)
            entry.load()
        except DataflareError as error:
            self.reading.add(*(problem.at(pointer=child(step.pointer, "uses")) for problem in error.problems))
            return None
        self.entries[step.name] = entry
        uses = step.uses if step.uses.startswith(PREFIX) else entry.uses
        config = self._with_secrets(step)
        if config is None:
            return None

        def make() -> Component:
            return self.host.component(uses, config, step.kind, self.flow.base)

        component = self._made(step.pointer, make)
        if component is None:
            return None
        if component.spec.deprecated:
            self._warn("flow.deprecated", f"`{uses}` is deprecated", step.pointer, component.spec.deprecated)
        try:
            return self._driven(step, component, make)
        except DataflareError as error:
            self.reading.add(*place_problems(error, step.pointer))
        return None

    def _driven(self, step: Step, component: Component, make: Callable[[], Component]) -> Resolved:
        from dataflare.context import Context
        from dataflare.drive import driver_for
        from dataflare.state import key_columns

        context = Context(id=f"{self.flow.name}-{step.name}", flow=self.flow.name, step=step.name, base=self.flow.base)
        keyed: Any = key_columns(component) if step.kind == "processor" else ()  # type: ignore[arg-type]
        return Resolved(step, component, make, schemas.drives(driver_for, context), keyed)

    def _with_secrets(self, step: Step) -> dict[str, Any] | None:
        """The configuration with secrets in their places; None where one cannot be had."""
        found: dict[str, str] = {}

        def put(value: Any, pointer: str) -> Any:
            if isinstance(value, dict):
                return {key: put(item, child(pointer, key)) for key, item in value.items()}
            if isinstance(value, list):
                return [put(item, child(pointer, index)) for index, item in enumerate(value)]
            if isinstance(value, str) and value.startswith("${secret:") and value.endswith("}"):
                from dataflare.types import Secret

                found[pointer] = value.removeprefix("${secret:").removesuffix("}")
                return Secret(self.host.secret(found[pointer], step.name), reference=found[pointer])
            return value

        try:
            config = put(step.config, "")
        except DataflareError as error:
            place = child(step.pointer, "with") + list(found)[-1]
            self.reading.add(*(problem.at(pointer=place) for problem in error.problems))
            return None
        self.secrets[step.name] = found
        return config  # type: ignore[no-any-return]

    def _checked(self, each: Resolved) -> list[Problem]:
        said = asked(each, self.reading.add, "plan.check_failed", each.driver.check) or []
        return [problem.at(pointer=each.place + (problem.pointer or "")) for problem in said]

    # --- schemas ------------------------------------------------------------------------------------------

    def _narrowed(
        self, resolved: list[Resolved], found: dict[str, Outputs]
    ) -> tuple[dict[str, list[str]], dict[str, Outputs]]:
        """The columns that sources are asked for, and the schemas that follow from it."""
        times = {each.step.name: {**self.flow.time, **each.step.time}.get("column") for each in resolved}
        extra = {name: column for name, column in times.items() if column}
        columns = schemas.columns_read(resolved, found, extra)
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
        tags: Mapping[tuple[str, str], schemas.Tags],
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
        from dataflare.config import dump

        step, entry = each.step, self.entries[each.step.name]
        abilities = _abilities(each)
        lanes = step.lanes or each.component.spec.lanes
        if abilities["stateful"] and not each.keyed and (lanes or 1) > 1:
            message = f"`{step.name}` keeps its own snapshot, so it runs in one lane"
            self.reading.note(child(step.pointer, "lanes"), "plan.lanes", message, "remove `lanes`")
        return StepPlan(
            name=step.name,
            kind=step.kind,
            uses=step.uses if step.uses.startswith(PREFIX) else entry.uses,
            plugin=entry.plugin,
            version=entry.version,
            config=dump(each.component),
            abilities=abilities,
            secrets=self.secrets[step.name],
            grants=self.host.grants(entry.plugin),
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

    def _assembled(self, steps: dict[str, StepPlan], edges: tuple[Edge, ...], guarantee: Guarantee) -> Plan:
        flow = self.flow
        options: dict[str, Any] = {key: value for key in _OPTIONS if (value := getattr(flow, key)) not in (None, {})}
        own = [step for step in flow.steps.values() if step.kind == "source"]
        told = {
            "times": {step.name: step.time for step in own if step.time},
            "schema_rules": {step.name: step.on_schema_change for step in own if step.on_schema_change},
            "not_shippable": [step.name for step in flow.steps.values() if step.uses.startswith(PREFIX)],
            "warnings": self.warnings,
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
            artifacts=self._artifacts(),
        ).digested()

    def _artifacts(self) -> dict[str, dict[str, str]]:
        """The bare files that the flow runs, by the name the flow has for them."""
        files = {entry.plugin: entry.file for entry in self.entries.values() if entry.file is not None}
        return {
            name: {"kind": "file", "digest": "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()}
            for name, file in files.items()
        }

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


def _filled(default: Any, name: str) -> dict[str, Any] | None:
    """A default of the plugin set with ``{flow}`` put in."""
    if default is None:
        return None

    def fill(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: fill(item) for key, item in value.items()}
        return value.replace("{flow}", name) if isinstance(value, str) else value

    return {"uses": default["uses"], "with": fill(default.get("with") or {})}


def _abilities(each: Resolved) -> dict[str, Any]:
    """What the component declares, as JSON, and what the engine must know beside it."""
    from dataflare.calling import is_overridden
    from dataflare.state import declared_states

    spec, kind = each.component.spec, each.step.kind
    declared = {name: _json(value) for name, value in spec.declared.items() if _is_json(value)}
    keeps = kind == "processor" and (
        is_overridden(each.component, "snapshot") or bool(declared_states(type(each.component)))
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
