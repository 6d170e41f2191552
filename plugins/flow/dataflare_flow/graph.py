"""The shape of a flow: names, references, cycles, order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataflare.declare import nearest
from dataflare_flow.document import child
from dataflare_flow.vocabulary import is_step_name
from dataflare_flow.words import Reading

if TYPE_CHECKING:
    from dataflare_flow.flow import Flow, Step


def check_names(reading: Reading, taken: Mapping[str, Step], name: str, section: str) -> None:
    """Note a name that cannot be, or that another section has already."""
    pointer = child(section, name)
    if not is_step_name(name):
        fix = "use letters, digits, `-` and `_`, a letter in front, at most 64"
        reading.note(pointer, "flow.name", f"`{name}` cannot be the name of a step", fix, key=True)
    elif name in taken:
        first = taken[name].pointer
        place = reading.document.keys.get(first)
        where = f"{first} in line {place[0]}, column {place[1]}" if place else first
        message = f"`{name}` is here twice: first as {where}"
        reading.note(pointer, "flow.duplicate_name", message, "rename one of the two", key=True, first=first)


def check_graph(flow: Flow, reading: Reading) -> None:
    """Note a flow without ends, references to nothing or to a sink, and cycles."""
    for kind, section in (("source", "sources"), ("sink", "sinks")):
        if not any(step.kind == kind for step in flow.steps.values()):
            fix = f"add an entry below `{section}:`"
            reading.note(f"/{section}", f"flow.no_{kind}", f"the flow has no {kind}", fix)
    for step in flow.steps.values():
        for _, reference in step.inputs:
            _check_reference(flow, reading, step, reference)
    for cycle in _cycles(flow):
        shown = " → ".join([*cycle, cycle[0]])
        message = f"the steps form a cycle: {shown}"
        pointer = child(flow.steps[cycle[0]].pointer, "from")
        reading.note(pointer, "flow.cycle", message, "a flow runs one way: take one `from` out of it", cycle=cycle)


def unused(flow: Flow) -> list[Step]:
    """The sources and steps whose rows go nowhere."""
    read = {step_of(reference) for step in flow.steps.values() for _, reference in step.inputs}
    return [step for step in flow.steps.values() if step.kind != "sink" and step.name not in read]


def step_of(reference: str) -> str:
    """The step that ``step`` or ``step.output`` names."""
    return reference.partition(".")[0]


def in_order(flow: Flow) -> list[Step]:
    """The steps, each behind all that it reads from, else in the order of the flow.

    Those on or behind a cycle are left out.
    """
    done: dict[str, Step] = {}
    waiting = list(flow.steps.values())
    while ready := next((step for step in waiting if _before(flow, step) <= done.keys()), None):
        done[ready.name] = ready
        waiting.remove(ready)
    return list(done.values())


def _before(flow: Flow, step: Step) -> set[str]:
    named = {step_of(reference) for _, reference in step.inputs}
    return {name for name in named if name in flow.steps and flow.steps[name].kind != "sink"}


def _check_reference(flow: Flow, reading: Reading, step: Step, reference: str) -> None:
    pointer = child(step.pointer, "from")
    target = flow.steps.get(step_of(reference))
    if target is None:
        usable = [name for name, other in flow.steps.items() if other.kind != "sink" and name != step.name]
        guess = nearest(step_of(reference), usable)
        fix = f"write `from: {guess}`" if guess else f"use one of {', '.join(usable) or 'the sources'}"
        reading.note(pointer, "flow.unknown_step", f"`{step.name}` reads from `{reference}`, which is not there", fix)
    elif target.kind == "sink":
        message = f"`{step.name}` reads from `{target.name}`, which is a sink: nothing comes out of it"
        others = ", ".join(f"`{other}`" for _, other in target.inputs if step_of(other) != step.name)
        reading.note(pointer, "flow.from_sink", message, f"read from what the sink reads: {others}" if others else None)


def _cycles(flow: Flow) -> list[list[str]]:
    left = {step.name for step in flow.steps.values()} - {step.name for step in in_order(flow)}
    found: list[list[str]] = []
    seen: set[str] = set()
    for start in (name for name in flow.steps if name in left):
        trail: list[str] = []
        at: str | None = start
        # every step left over reads from another one left over, so walking back must end in a cycle
        while at is not None and at not in trail and at not in seen:
            trail.append(at)
            at = next((name for name in sorted(_before(flow, flow.steps[at])) if name in left), None)
        if at in trail:
            cycle = trail[trail.index(at) :][::-1]
            first = min(range(len(cycle)), key=lambda index: list(flow.steps).index(cycle[index]))
            found.append(cycle[first:] + cycle[:first])
        seen.update(trail)
    return found
