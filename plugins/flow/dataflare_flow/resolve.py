"""Finding and configuring what a flow names: its components, and the mode, engine and store around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dataflare.errors import ConfigError, DataflareError, Problem, problem_of
from dataflare.local import PREFIX
from dataflare_flow.document import child
from dataflare_flow.flow import Flow, Step
from dataflare_flow.substitution import secret_name
from dataflare_flow.words import Reading

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.drive import Driver
    from dataflare_host.app import Host
    from dataflare_host.registry import Entry

T = TypeVar("T")
KINDS = {"mode": "mode", "engine": "engine", "state": "store"}
"""The words of a flow for what runs it, and their kinds."""


@dataclass
class Resolved:
    """A step with its component. ``make`` gives another instance of it, ``drive`` a driver for one."""

    step: Step
    entry: Entry
    component: Component
    make: Callable[[], Component]
    drive: Callable[[Component], Any]
    keyed: tuple[str, ...] = ()
    secrets: dict[str, str] = field(default_factory=dict)
    driver: Any = field(init=False)

    def __post_init__(self) -> None:
        self.driver = self.drive(self.component)

    def ability(self, name: str, default: Any = None) -> Any:
        """What the component declares."""
        return self.component.spec.get(name, default)

    @property
    def uses(self) -> str:
        """The component's name in canonical form."""
        return _name_of(self.step, self.entry)

    @property
    def place(self) -> str:
        """The pointer to the configuration, or to the step if it has none."""
        return child(self.step.pointer, "with") if self.step.config else self.step.pointer


class Resolver:
    """Finds components for one flow; problems go to ``reading``, what is only worth saying to ``warnings``."""

    def __init__(self, flow: Flow, reading: Reading, host: Host) -> None:
        self.flow, self.reading, self.host = replace(flow), reading, host
        """The flow; ``around`` puts the mode, engine and state that it does not name into it."""
        self.warnings: list[dict[str, Any]] = []

    def warn(self, code: str, message: str, pointer: str, fix: str) -> None:
        """Something that does not keep the flow from running."""
        self.warnings.append({"code": code, "message": message, "pointer": pointer, "fix": fix})

    def around(self, word: str) -> Component | None:
        """The mode, engine or store; the flow gets its canonical name."""
        given, kind = getattr(self.flow, word), KINDS[word]
        try:
            if given is None or "uses" not in given:
                default = self.host.default(word, self.flow.name)
                given = {**(default or {}), **(given or {})}
            if "uses" not in given:
                message, code = f"the flow has no {word}, and no plugin names one", f"plan.no_{word}"
                fix = f"write `{word}: plugin/component`, or install a plugin with [defaults]"
                self.reading.note(f"/{word}", code, message, fix)
                return None
            entry = self.host.table().find(kind, given["uses"], self.flow.base)
        except ConfigError as error:
            self.reading.add(*(problem.at(pointer=f"/{word}") for problem in error.problems))
            return None
        config = given.get("with") or {}
        resolved = {"uses": entry.uses, "with": config}
        setattr(self.flow, word, resolved)
        made = self._made(f"/{word}", lambda: self.host.component(entry.uses, config, kind, self.flow.base))
        if made is not None and given.get("layers"):
            self._layers(resolved, given["layers"])
        return made

    def _layers(self, state: dict[str, Any], given: list[dict[str, Any]]) -> None:
        """The layers over the store, by their canonical names; is each what it says it is?"""
        state["layers"] = []
        for index, layer in enumerate(given):
            pointer, config = child("/state/layers", index), layer.get("with") or {}
            try:
                entry = self.host.table().find("layer", layer["uses"], self.flow.base)
            except ConfigError as error:
                self.reading.add(*(problem.at(pointer=pointer) for problem in error.problems))
                continue
            if self._made(pointer, partial(self.host.component, entry.uses, config, "layer", self.flow.base)):
                state["layers"].append({"uses": entry.uses, "with": config})
        if not self.reading.problems:
            self._made("/state", lambda: self.host.store(state, self.flow.base))

    def check_plugins(self) -> None:
        """Are the plugins here that the flow was written for?"""
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
                message = f"the flow needs `{name}` {wanted}; {manifest.version} is installed"
                fix = f"install `dataflare-{name}` {wanted}, or say which versions the flow was tried with"
                self.reading.note(pointer, "flow.plugin_version", message, fix)

    def step(self, step: Step) -> Resolved | None:
        """A step's component, configured; None where something is wrong with it, or where it names none."""
        if not step.uses:
            return None
        try:
            entry = self.host.table().find(step.kind, step.uses, self.flow.base)
            entry.load()
        except DataflareError as error:
            self.reading.add(*(problem.at(pointer=child(step.pointer, "uses")) for problem in error.problems))
            return None
        secrets: dict[str, str] = {}
        config = self._with_secrets(step, secrets)
        if config is None:
            return None
        uses = _name_of(step, entry)

        def make() -> Component:
            return self.host.component(uses, config, step.kind, self.flow.base)

        component = self._made(step.pointer, make)
        if component is None:
            return None
        if component.spec.deprecated:
            self.warn("flow.deprecated", f"`{uses}` is deprecated", step.pointer, component.spec.deprecated)
        try:
            keyed = _keys(component)
        except DataflareError as error:
            self.reading.add(*placed(error, step.pointer))
            return None
        return Resolved(step, entry, component, make, self._driver_of(step, entry), keyed, secrets)

    def _driver_of(self, step: Step, entry: Entry) -> Callable[[Component], Driver]:
        from dataflare.context import Context
        from dataflare.drive import driver_for
        from dataflare.grants import services

        around: dict[str, Any] = {"flow": self.flow.name, "base": self.flow.base}
        granted = services(step.name, self.host.grants(entry.plugin, step.grants), self.host, **around)
        context = Context(id=f"{self.flow.name}-{step.name}", step=step.name, **around, **granted)
        return lambda component: driver_for(component, context)

    def _made(self, pointer: str, make: Callable[[], Component]) -> Component | None:
        try:
            return make()
        except DataflareError as error:
            self.reading.add(*placed(error, child(pointer, "with")))
        except Exception as error:
            self.reading.add(problem_of(error, "plugin.component_failed", kind="config", pointer=pointer))
        return None

    def _with_secrets(self, step: Step, found: dict[str, str]) -> dict[str, Any] | None:
        """The configuration with secrets in their places, their names in ``found``; None where one cannot be had."""

        def put(value: Any, pointer: str) -> Any:
            if isinstance(value, dict):
                return {key: put(item, child(pointer, key)) for key, item in value.items()}
            if isinstance(value, list):
                return [put(item, child(pointer, index)) for index, item in enumerate(value)]
            if (name := secret_name(value)) is not None:
                from dataflare.types import Secret

                found[pointer] = name
                return Secret(self.host.secret(name, step.name), reference=name)
            return value

        try:
            config: dict[str, Any] = put(step.config, "")
        except DataflareError as error:
            place = child(step.pointer, "with") + list(found)[-1]
            self.reading.add(*(problem.at(pointer=place) for problem in error.problems))
            return None
        return config


def placed(error: DataflareError, place: str) -> list[Problem]:
    """The problems of a component, each at its field below ``place``; those of its own code stay there."""
    return [
        problem if problem.file else problem.at(pointer=place + (problem.pointer or "")) for problem in error.problems
    ]


def asked(resolved: Resolved, note: Callable[[Problem], None], code: str, call: Callable[[], T]) -> T | None:
    """What a component answers; None where it raised, with its problems noted."""
    try:
        return call()
    except DataflareError as error:
        for problem in placed(error, resolved.place):
            note(problem)
    except Exception as error:
        kind, name = type(error).__name__, resolved.step.name
        cause = f"{kind}: {error}" if str(error) else kind
        note(Problem(code, f"`{name}` failed while it was planned", pointer=resolved.step.pointer, cause=cause))
    return None


def _keys(component: Component) -> tuple[str, ...]:
    from dataflare.component import Processor
    from dataflare.state import key_columns

    return key_columns(component) if isinstance(component, Processor) else ()


def _name_of(step: Step, entry: Entry) -> str:
    return step.uses if step.uses.startswith(PREFIX) else entry.uses
