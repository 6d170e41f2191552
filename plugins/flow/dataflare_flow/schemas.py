"""Schemas pushed through the steps, from the sources to the sinks, before anything starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflare.declare import nearest
from dataflare.errors import ConfigError, DataflareError, Problem, Retry, problem_of
from dataflare.split import Demand, Resume
from dataflare_flow.document import child
from dataflare_flow.graph import step_of
from dataflare_flow.resolve import Resolved, asked
from dataflare_host.plan import MAIN

if TYPE_CHECKING:
    from dataflare.schema import Schema
    from dataflare_flow.flow import Step

SAMPLE_SECONDS = 5.0
"""How long a source may take to give the batch that its schema is learned from."""
Note = Callable[[Problem], None]


@dataclass
class Outputs:
    """A step's outputs and their schemas, None where only reading tells. Not ``complete``: there may be others."""

    schemas: dict[str, Schema | None]
    complete: bool = True


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
    kind = resolved.step.kind
    if kind == "source":
        return asked(resolved, note, "plan.source_failed", lambda: _source_outputs(resolved))
    inputs = inputs_of(resolved, found, note)
    if inputs is None or not _has_keys(resolved, inputs, note):
        return None
    known = {name: schema for name, schema in inputs.items() if schema is not None}
    named: dict[str, Schema | None] = {} if kind == "sink" else dict.fromkeys((MAIN, *resolved.ability("outputs", ())))
    if len(known) < len(inputs):
        return Outputs(named)

    def plan() -> Outputs:
        if kind == "sink":
            resolved.driver.plan(known[""])
            return Outputs({})
        return Outputs({**named, **resolved.driver.plan(known)})

    return asked(resolved, note, "plan.sink_failed" if kind == "sink" else "plan.step_failed", plan)


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
    except (DataflareError, Retry) as error:
        if problem_of(error).kind != "retry":
            raise
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
    return merged if whole and merged else None


class _Missing:
    """No schema, because what gives it is not there or has failed."""


def _schema_at(reference: str, found: Mapping[str, Outputs], pointer: str, note: Note) -> Schema | _Missing | None:
    name, output = step_of(reference), reference.partition(".")[2] or MAIN
    outputs = found.get(name)
    if outputs is None or (outputs.complete and not outputs.schemas):
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
