"""Which columns anybody reads: asked of the steps from the sinks back to the sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dataflare_flow.graph import step_of
from dataflare_flow.resolve import Resolved
from dataflare_flow.schemas import Outputs, inputs_of
from dataflare_host.plan import MAIN

if TYPE_CHECKING:
    from dataflare.schema import Schema


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
