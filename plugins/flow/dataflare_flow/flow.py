"""A flow: sources, steps and sinks, from a YAML file or built in Python with the same names.

::

    flow = Flow("hot-readings")
    readings = flow.source("readings", "std/files", path="data/readings.jsonl")
    hot = readings.step("hot", "std/filter", where="temperature > 20")
    hot.sink("out", "std/files", path="out/hot.jsonl")
    flow.run()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_flow.document import Document, child, read_document
from dataflare_flow.graph import check_graph, check_names
from dataflare_flow.substitution import escaped, substituted
from dataflare_flow.vocabulary import FLOW_WORDS, SECTIONS, STEP_WORDS, Inputs, is_step_name
from dataflare_flow.words import Reading, read_table

if TYPE_CHECKING:
    from dataflare_host.app import Host
    from dataflare_host.kinds import Outcome
    from dataflare_host.plan import Plan

SECTION_OF = {kind: section for section, kind in SECTIONS.items()}
_WHAT = {"source": "a source", "processor": "a step", "sink": "a sink"}
_GIVEN = (
    "lanes",
    "place",
    "on_error",
    "every",
    "time",
    "on_schema_change",
    "max_rejects",
    "guarantee",
    "deliver",
    "grants",
)


@dataclass
class Step:
    """A source, step or sink in normal form: durations in seconds, inputs as (input, ``step`` or ``step.output``)."""

    name: str
    kind: str
    uses: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    inputs: Inputs = ()
    lanes: int | None = None
    place: dict[str, str] = field(default_factory=dict)
    on_error: dict[str, Any] = field(default_factory=dict)
    every: float | None = None
    time: dict[str, Any] = field(default_factory=dict)
    on_schema_change: str | None = None
    max_rejects: int | dict[str, Any] | None = None
    guarantee: str | None = None
    deliver: str | None = None
    grants: dict[str, Any] | None = None

    @property
    def pointer(self) -> str:
        """Where it stands in the flow file, as a JSON pointer."""
        return child(f"/{SECTION_OF[self.kind]}", self.name)

    def to_mapping(self) -> dict[str, Any]:
        """The step as it is written in a flow file; what was not given is left out."""
        written: dict[str, Any] = {"uses": self.uses}
        if self.inputs:
            written["from"] = _written_inputs(self.inputs)
        if self.config:
            written["with"] = escaped(self.config)
        return {**written, **{key: value for key in _GIVEN if (value := getattr(self, key)) not in (None, {})}}


@dataclass
class Flow:
    """What to read, what to do with it and where to write it; ``base`` is where relative paths start.

    ``mode``, ``engine`` and ``state`` are ``{"uses": …, "with": …}``; what is None comes from the plugin set.
    """

    name: str
    base: Path = field(default_factory=Path.cwd)
    mode: Any = None
    engine: Any = None
    state: Any = None
    plugins: dict[str, str] = field(default_factory=dict)
    checkpoint: dict[str, Any] = field(default_factory=dict)
    guarantee: str | None = None
    time: dict[str, Any] = field(default_factory=dict)
    max_rejects: int | dict[str, Any] | None = None
    drain_timeout: float | None = None
    keep: int | None = None
    on_schema_change: str | None = None
    steps: dict[str, Step] = field(default_factory=dict, repr=False)
    file: Path | None = None
    document: Document = field(default_factory=lambda: Document({}), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.document.value:
            return  # read already, with the places of what is wrong
        given = {"name": self.name, **{key: value for key in _FLOW_GIVEN if (value := getattr(self, key))}}
        for key, value in _read_or_raise(given, FLOW_WORDS, "a flow").items():
            setattr(self, key, value)

    # --- from a file and back -------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> Flow:
        """The flow in a file. Raises ConfigError with every mistake that can be seen without the plugins."""
        flow, reading = read_flow(read_document(Path(path)), Path(path))
        return _checked(flow, reading)

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any], base: str | Path | None = None) -> Flow:
        """The flow in a mapping, such as a parsed file or ``to_mapping`` gives. Raises ConfigError like ``load``."""
        flow, reading = read_flow(Document.of(value), base=base)
        return _checked(flow, reading)

    def to_mapping(self) -> dict[str, Any]:
        """The flow as its file would hold it: only JSON values, in normal form."""
        written: dict[str, Any] = {"version": 1, "name": self.name}
        for key in ("mode", "engine", "state"):
            if (value := getattr(self, key)) is not None:
                written[key] = _component(value)
        for section, kind in SECTIONS.items():
            found = {step.name: step.to_mapping() for step in self.steps.values() if step.kind == kind}
            if found:
                written[section] = found
        rest = [key for key in _FLOW_GIVEN if key not in written]
        return {**written, **{key: value for key in rest if (value := getattr(self, key)) not in (None, {})}}

    # --- built in Python ------------------------------------------------------------------------

    def source(self, name: str, uses: Any, /, with_: Mapping[str, Any] | None = None, **given: Any) -> Output:
        """Add a source. ``uses`` is ``plugin/component``, a decorated function or a class.

        Words of the flow file (``lanes``, ``place``, ``on_error``, ``every``, ``time``) stand beside the configuration;
        where a component has a field of that name, give it in ``with_``. Raises ConfigError for a word that is wrong.
        """
        return self._add("source", name, uses, None, with_, given)

    def step(
        self, name: str, uses: Any, /, from_: Any = None, with_: Mapping[str, Any] | None = None, **given: Any
    ) -> Output:
        """Add a step behind ``from_``: a name, ``step.output``, an ``Output``, a list, or a mapping of named inputs."""
        return self._add("processor", name, uses, from_, with_, given)

    def sink(
        self, name: str, uses: Any, /, from_: Any = None, with_: Mapping[str, Any] | None = None, **given: Any
    ) -> Output:
        """Add a sink behind ``from_``; ``guarantee`` and ``deliver`` are words of a sink."""
        return self._add("sink", name, uses, from_, with_, given)

    def _add(
        self, kind: str, name: str, uses: Any, from_: Any, with_: Mapping[str, Any] | None, given: dict[str, Any]
    ) -> Output:
        words = STEP_WORDS[kind]
        if not isinstance(uses, str):
            from dataflare.local import remember

            uses = remember(uses)
        if name in self.steps or not is_step_name(name):
            why = "is taken" if name in self.steps else "cannot be the name of a step"
            raise ConfigError.of("flow.duplicate_name" if name in self.steps else "flow.name", f"`{name}` {why}")
        written = {key: given.pop(key) for key in list(given) if key in words and key not in ("uses", "with", "from")}
        written |= {"uses": uses, "with": {**given, **(with_ or {})}}
        if from_ is not None:
            written["from"] = _named(from_)
        read = _read_or_raise(written, words, _WHAT[kind])
        self.steps[name] = Step(name, kind, config=read.pop("with", {}), inputs=read.pop("from", ()), **read)
        return Output(self, name)

    # --- planned and run --------------------------------------------------------------------------

    def plan(self, host: Host | None = None, **options: Any) -> Plan:
        """The checked plan. Raises ConfigError with every problem."""
        from dataflare_flow.planning import plan_flow

        return plan_flow(self, host or _host(), **options)

    def run(self, progress: Callable[[dict[str, Any]], None] | None = None, host: Host | None = None) -> Outcome:
        """Run to the end and give the outcome; ``progress`` is called with the flow's status while it runs.

        Ctrl-C (or the notebook's stop button) finishes the open epoch and stops; what is committed stays.
        """
        from dataflare_host.run import run_plan

        if host is None:
            with _host() as own:
                return self.run(progress, own)
        return run_plan(self.plan(host), host, progress=progress)


@dataclass(frozen=True)
class Output:
    """An output of a step that was added to a flow: what the next step starts from."""

    flow: Flow
    name: str

    def step(self, name: str, uses: Any, /, with_: Mapping[str, Any] | None = None, **given: Any) -> Output:
        """Add a step behind this one."""
        return self.flow.step(name, uses, self, with_, **given)

    def sink(self, name: str, uses: Any, /, with_: Mapping[str, Any] | None = None, **given: Any) -> Output:
        """Add a sink behind this step."""
        return self.flow.sink(name, uses, self, with_, **given)

    def output(self, name: str) -> Output:
        """Another output of the step, such as ``late``."""
        return Output(self.flow, f"{self.name.partition('.')[0]}.{name}")


_FLOW_GIVEN = tuple(key for key in FLOW_WORDS if key not in ("version", "name", *SECTIONS))


def read_flow(document: Document, file: Path | None = None, base: str | Path | None = None) -> tuple[Flow, Reading]:
    """The flow of a document as far as it can be read, and the reading with its problems so far."""
    reading = Reading(document)
    value = substituted(reading, document.value)
    found = read_table(reading, value, "", FLOW_WORDS, "a flow")
    sections = {section: found.pop(section, {}) for section in SECTIONS}
    found.pop("version", None)
    found.setdefault("name", _default_name(file))
    if base is not None or file is not None:
        found["base"] = Path(base) if base is not None else Path(file or ".").absolute().parent
    flow = Flow(**found, file=file, document=document)
    for section, kind in SECTIONS.items():
        for name, given in sections[section].items():
            check_names(reading, flow.steps, name, f"/{section}")
            step = _read_step(reading, name, kind, given)
            if step is not None:
                flow.steps.setdefault(name, step)
    return flow, reading


def _read_step(reading: Reading, name: str, kind: str, given: Any) -> Step | None:
    pointer = child(f"/{SECTION_OF[kind]}", name)
    words = STEP_WORDS[kind]
    if not isinstance(given, Mapping):
        fix = f"write `{name}: {{uses: plugin/component}}`"
        reading.note(pointer, "flow.type", f"`{name}` must be a mapping with `uses`", fix)
        return Step(name, kind)
    misplaced = [key for key in given if key not in words and any(key in other for other in STEP_WORDS.values())]
    for key in misplaced:
        code = "flow.source_from" if (kind, key) == ("source", "from") else "flow.unknown_key"
        fix = "remove it, or move the entry to `steps`" if key == "from" else "remove it"
        reading.note(child(pointer, key), code, f"{_WHAT[kind]} takes no `{key}`", fix, key=True)
    rest = {key: value for key, value in given.items() if key not in misplaced}
    read = read_table(reading, rest, pointer, words, _WHAT[kind])
    required = ("uses",) if kind == "source" else ("uses", "from")
    for key in required:
        if rest.get(key) is None:
            example = "plugin/component" if key == "uses" else "the name of a source or step"
            reading.note(pointer, "flow.missing_key", f"`{name}` has no `{key}`", f"add `{key}:` with {example}")
    return Step(name, kind, config=read.pop("with", {}), inputs=read.pop("from", ()), **read)


def _checked(flow: Flow, reading: Reading) -> Flow:
    check_graph(flow, reading)
    if reading.problems:
        raise ConfigError(*reading.problems)
    return flow


def _read_or_raise(given: Mapping[str, Any], words: Mapping[str, Any], what: str) -> dict[str, Any]:
    reading = Reading(Document({}))
    read = read_table(reading, substituted(reading, given), "", words, what)
    if reading.problems:
        raise ConfigError(*reading.problems)
    return read


def _component(value: Mapping[str, Any]) -> dict[str, Any]:
    """A component as it is written in a flow file."""
    written: dict[str, Any] = {key: value[key] for key in ("uses",) if key in value}
    if value.get("with"):
        written["with"] = escaped(value["with"])
    if value.get("layers"):
        written["layers"] = [_component(layer) for layer in value["layers"]]
    return written


def _default_name(file: Path | None) -> str:
    from re import sub

    return sub(r"[^A-Za-z0-9._-]+", "-", file.stem if file else "flow").strip(".-") or "flow"


def _named(given: Any) -> Any:
    if isinstance(given, Output):
        return given.name
    if isinstance(given, Mapping):
        return {key: _named(item) for key, item in given.items()}
    return [_named(item) for item in given] if isinstance(given, Sequence) and not isinstance(given, str) else given


def _written_inputs(inputs: Inputs) -> Any:
    references = [reference for _, reference in inputs]
    if not any(name for name, _ in inputs):
        return references[0] if len(references) == 1 else references
    named: dict[str, list[str]] = {}
    for name, reference in inputs:
        named.setdefault(name, []).append(reference)
    return {name: listed[0] if len(listed) == 1 else listed for name, listed in named.items()}


def _host() -> Host:
    from dataflare_host.app import Host

    return Host.start()
