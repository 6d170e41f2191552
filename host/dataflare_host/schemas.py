"""Schemas pushed through the steps before anything starts, columns that nobody reads, sensitivity tags."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflare.declare import nearest
from dataflare.errors import ConfigError, DataflareError, Problem, Retry
from dataflare.split import Demand, Resume
from dataflare_host.document import child
from dataflare_host.graph import step_of
from dataflare_host.plan import MAIN

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.drive import Driver
    from dataflare.schema import Schema
    from dataflare_host.flow import Step

SAMPLE_SECONDS = 5.0
"""How long a source may take to give the batch that its schema is learned from."""
TAGS = b"tags"
"""Arrow field metadata of a source: the column's sensitivity tags, with commas."""
Note = Callable[[Problem], None]


@dataclass
class Resolved:
    """A step with its component; ``make`` gives another instance of it, ``driver`` one for a component."""

    step: Step
    component: Component
    make: Callable[[], Component]
    drive: Callable[[Component], Any]
    keyed: tuple[str, ...] = ()
    driver: Any = field(init=False)

    def __post_init__(self) -> None:
        self.driver = self.drive(self.component)

    def ability(self, name: str, default: Any = None) -> Any:
        """What the component declares."""
        return self.component.spec.get(name, default)

    @property
    def place(self) -> str:
        """The pointer to the configuration, or to the step if it has none."""
        return child(self.step.pointer, "with") if self.step.config else self.step.pointer


@dataclass
class Outputs:
    """A step's outputs and their schemas, None where only reading tells. Not ``complete``: there may be others."""

    schemas: dict[str, Schema | None]
    complete: bool = True


def place_problems(error: DataflareError, place: str) -> Iterable[Problem]:
    """The problems of a component, each at its field below ``place``."""
    for problem in error.problems:
        yield problem if problem.file else problem.at(pointer=place + (problem.pointer or ""))


def asked(resolved: Resolved, note: Note, code: str, call: Callable[[], Any]) -> Any:
    """What a component answers; None where it raised, with its problems noted."""
    try:
        return call()
    except DataflareError as error:
        for problem in place_problems(error, resolved.place):
            note(problem)
    except Exception as error:
        kind = type(error).__name__
        name = resolved.step.name
        cause = f"{kind}: {error}" if str(error) else kind
        note(Problem(code, f"`{name}` failed while it was planned", pointer=resolved.step.pointer, cause=cause))
    return None


# --- forward: what comes out of each step --------------------------------------------------------------


def push(steps: Iterable[Resolved], note: Note, known: Mapping[str, Outputs] = {}) -> dict[str, Outputs]:
    """Step → outputs, in the order of ``steps``; those that failed, and all behind them, are left out.

    Problems of independent branches are all noted. ``known`` are outputs that need no planning.
    """
    found: dict[str, Outputs] = {}
    for resolved in steps:
        name = resolved.step.name
        outputs = known.get(name) or _outputs(resolved, found, note)
        if outputs is not None:
            found[name] = outputs
    return found


def _outputs(resolved: Resolved, found: Mapping[str, Outputs], note: Note) -> Outputs | None:
    if resolved.step.kind == "source":
        made: Outputs | None = asked(resolved, note, "plan.source_failed", lambda: _source_outputs(resolved))
        return made
    inputs = inputs_of(resolved, found, note)
    if inputs is None or not _has_keys(resolved, inputs, note):
        return None
    unknown = any(schema is None for schema in inputs.values())
    known = {name: schema for name, schema in inputs.items() if schema is not None}
    if resolved.step.kind == "sink":
        if not unknown:
            before = _counted(note)
            asked(resolved, before.note, "plan.sink_failed", lambda: resolved.driver.plan(known[""]))
            return None if before.count else Outputs({})
        return Outputs({})
    named = dict.fromkeys((MAIN, *resolved.ability("outputs", ())), None)
    if unknown:
        return Outputs(dict(named))
    planned = asked(resolved, note, "plan.step_failed", lambda: resolved.driver.plan(known))
    return None if planned is None else Outputs({**named, **planned})


@dataclass
class _counted:
    given: Note
    count: int = 0

    def note(self, problem: Problem) -> None:
        self.count += 1
        self.given(problem)


def _source_outputs(resolved: Resolved) -> Outputs:
    planned = resolved.driver.plan()
    if planned is not None:
        return Outputs({stream or MAIN: schema for stream, schema in planned.items()})
    if resolved.driver.replay != "position":
        return Outputs({MAIN: None}, complete=False)
    return Outputs(_sampled(resolved) or {MAIN: None}, complete=False)


def _sampled(resolved: Resolved) -> dict[str, Schema | None]:
    """The schema of the first batch, which is thrown away; empty where none comes in time."""
    driver = resolved.drive(resolved.make())
    until = time.monotonic() + SAMPLE_SECONDS
    try:
        driver.open(Resume())
        splits, _ = next(iter(driver.splits(None, frozenset())), ([], None))
        for split in splits:
            found = _first_batch(driver, split, until)
            if found or time.monotonic() > until:
                return found
    except Retry:
        return {}
    finally:
        driver.close()
    return {}


def _first_batch(driver: Any, split: Any, until: float) -> dict[str, Schema | None]:
    from dataflare.drive import NO_POSITION
    from dataflare.schema import Schema

    position = NO_POSITION if split.start is None else split.start
    demand = Demand(rows=8192, bytes=1 << 20, until=min(until, time.monotonic() + 0.1))
    with closing(driver.read(split, position, demand, None)) as readings:
        for reading in readings:
            if reading.batch is not None:
                return {reading.stream or MAIN: Schema(reading.batch.schema)}
            if time.monotonic() > until:
                break
            demand.until = min(until, time.monotonic() + 0.1)
    return {}


def inputs_of(resolved: Resolved, found: Mapping[str, Outputs], note: Note) -> dict[str, Schema | None] | None:
    """Input → schema (several edges united), or None if an edge has no beginning or the inputs do not fit."""
    step, named = resolved.step, tuple(resolved.ability("inputs") or ())
    pointer = child(step.pointer, "from")
    merged: dict[str, Schema | None] = {}
    whole = True
    for name, reference in step.inputs:
        if name and name not in named:
            fix = f"its inputs are {', '.join(named)}" if named else "write `from:` with a step or a list"
            note(Problem("flow.unknown_input", f"`{step.name}` has no input `{name}`", pointer=pointer, fix=fix))
            whole = False
            continue
        schema = _schema_at(reference, found, pointer, note)
        if isinstance(schema, _Missing):
            whole = False
        elif name not in merged:
            merged[name] = schema
        else:
            before = merged[name]
            united = None if before is None or schema is None else _united(step, before, schema, note)
            whole = whole and (united is not None or before is None or schema is None)
            merged[name] = united
    for name in (name for name in named if whole and "" not in merged and name not in merged):
        fix = f"write `from: {{{', '.join(f'{each}: …' for each in named)}}}`"
        message = f"the input `{name}` of `{step.name}` gets nothing"
        note(Problem("flow.missing_input", message, pointer=pointer, fix=fix))
        whole = False
    return merged if whole else None


class _Missing:
    """No schema, because what gives it is not there or has failed."""


def _schema_at(reference: str, found: Mapping[str, Outputs], pointer: str, note: Note) -> Schema | _Missing | None:
    name, output = step_of(reference), reference.partition(".")[2] or MAIN
    outputs = found.get(name)
    if outputs is None:
        return _Missing()
    if output in outputs.schemas or not outputs.complete:
        return outputs.schemas.get(output)
    has = list(outputs.schemas)
    guess = nearest(output, has) or (has[0] if len(has) == 1 else None)
    what = "main output" if output == MAIN else f"output `{output}`"
    fix = f"write `from: {name}.{guess}`" if guess else f"its outputs: {', '.join(has)}"
    note(Problem("flow.unknown_output", f"`{name}` has no {what}", pointer=pointer, fix=fix))
    return _Missing()


def _united(step: Step, first: Schema, second: Schema, note: Note) -> Schema | None:
    try:
        return first.union(second)
    except ConfigError as error:
        clashes = [
            f"`{column.name}` is {first.type(column.name)} and {column.type}"
            for column in second
            if column.name in first and not _fit(first.select([column.name]), second.select([column.name]))
        ]
        message = f"the inputs of `{step.name}` do not fit together: {'; '.join(clashes) or error.problems[0].message}"
        fix = "give the columns one type in the steps before, or other names"
        note(Problem("plan.union", message, pointer=child(step.pointer, "from"), fix=fix))
        return None


def _fit(first: Schema, second: Schema) -> bool:
    try:
        first.union(second)
    except ConfigError:
        return False
    return True


def _has_keys(resolved: Resolved, inputs: Mapping[str, Schema | None], note: Note) -> bool:
    for schema in (schema for schema in inputs.values() if schema is not None and not schema.open):
        missing = [column for column in resolved.keyed if column not in schema]
        for column in missing:
            guess = nearest(column, schema.names)
            fix = f"write `{guess}`" if guess else f"its columns: {', '.join(schema.names)}"
            pointer = child(resolved.place, resolved.ability("by") or "")
            message = f"`{resolved.step.name}` is keyed by `{column}`, which does not come in"
            note(Problem("plan.unknown_column", message, pointer=pointer, fix=fix))
        if missing:
            return False
    return True


# --- backward: which columns are read -------------------------------------------------------------------


def columns_read(
    steps: Iterable[Resolved], found: Mapping[str, Outputs], extra: Mapping[str, str]
) -> dict[str, list[str]]:
    """Source → the only columns that anybody reads, for sources that can leave the others out.

    ``extra`` are columns that the engine itself reads (event times), by source.
    """
    resolved = {each.step.name: each for each in steps}
    wanted: dict[str, frozenset[str] | None] = {}
    narrowed = {}
    for name, each in reversed(resolved.items()):
        if each.step.kind == "source":
            columns = _narrowed(each, found[name], wanted.get(name), extra.get(name))
            if columns is not None:
                narrowed[name] = columns
            continue
        needed = _needed(each, found, wanted.get(name, frozenset()))
        for _, reference in each.step.inputs:
            before = wanted.get(step_of(reference), frozenset())
            wanted[step_of(reference)] = None if before is None or needed is None else before | needed
    return narrowed


def _needed(each: Resolved, found: Mapping[str, Outputs], wanted: frozenset[str] | None) -> frozenset[str] | None:
    inputs = inputs_of(each, found, lambda problem: None) or {}
    schema = inputs.get("")
    if schema is None or schema.open or len(inputs) != 1:
        return None
    component: Any = each.component
    needed = component.needs(schema) if each.step.kind == "sink" else component.needs(wanted, schema)
    return None if needed is None else frozenset(needed) | frozenset(each.keyed)


def _narrowed(each: Resolved, outputs: Outputs, wanted: frozenset[str] | None, extra: str | None) -> list[str] | None:
    schema = outputs.schemas.get(MAIN)
    if wanted is None or schema is None or schema.open or len(outputs.schemas) != 1:
        return None
    if "columns" not in each.driver.operation("read"):
        return None
    kept = [name for name in schema.names if name in wanted or name == extra]
    # rows without any column would lose their number
    kept = kept or [_cheapest(schema)][: len(schema)]
    return kept if len(kept) < len(schema) else None


def _cheapest(schema: Schema) -> str:
    def width(name: str) -> int:
        try:
            return int(schema.type(name).bit_width)
        except ValueError:
            return 1 << 30

    return min(schema.names, key=width, default="")


# --- sensitivity tags -----------------------------------------------------------------------------------

Tags = dict[str, set[str]]


def tags_of(steps: Iterable[Resolved], found: Mapping[str, Outputs], note: Note) -> dict[tuple[str, str], Tags]:
    """(step, output) → column → tags. A sink that is not cleared for a tag is noted (``permission.tag``)."""
    tagged: dict[tuple[str, str], Tags] = {}
    for each in steps:
        name, outputs = each.step.name, found[each.step.name]
        if each.step.kind == "source":
            tagged |= {(name, output): _own_tags(schema) for output, schema in outputs.schemas.items()}
            continue
        coming: Tags = {}
        for _, reference in each.step.inputs:
            for column, tags in tagged.get((step_of(reference), reference.partition(".")[2] or MAIN), {}).items():
                coming.setdefault(column, set()).update(tags)
        if each.step.kind == "sink":
            _refuse_tags(each, coming, note)
        else:
            for output, schema in outputs.schemas.items():
                tagged[(name, output)] = _derived_tags(each, coming, schema)
    return tagged


def _own_tags(schema: Schema | None) -> Tags:
    found: Tags = {}
    for column in schema or ():
        words = (column.metadata or {}).get(TAGS, b"").decode().split(",")
        if tags := {word.strip() for word in words if word.strip()}:
            found[column.name] = tags
    return found


def _derived_tags(each: Resolved, coming: Tags, schema: Schema | None) -> Tags:
    reads, writes = each.ability("reads"), each.ability("writes")
    spread: set[str] = set().union(*(tags for column, tags in coming.items() if reads is None or column in reads))
    cleared = set(each.ability("clears", ()))
    columns = list(coming) if schema is None or schema.open else schema.names
    found: Tags = {}
    for column in columns:
        kept = writes is not None and column not in writes and column in coming
        tags = (coming.get(column, set()) if kept else coming.get(column, set()) | spread) - cleared
        if tags:
            found[column] = tags
    return found


def _refuse_tags(each: Resolved, coming: Tags, note: Note) -> None:
    cleared = set(each.ability("clears", ()))
    for column, tags in coming.items():
        for tag in sorted(tags - cleared):
            message = f"`{column}` is tagged `{tag}`, and `{each.step.name}` is not cleared for it"
            fix = f"mask or drop `{column}` before, or use a sink that is cleared for `{tag}`"
            note(Problem("permission.tag", message, pointer=each.step.pointer, fix=fix))


def drives(make_driver: Callable[[Component, Any], Driver], context: Any) -> Callable[[Component], Any]:
    """A maker of drivers that share one planning context."""
    return lambda component: make_driver(component, context)
