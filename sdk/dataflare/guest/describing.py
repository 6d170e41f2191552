"""What a guest says of its components, without an instance of any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.calling import asks_for, is_overridden

if TYPE_CHECKING:
    from dataflare.component import Component

Json = Any
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "source": (
        *("check", "discover", "plan", "splits", "read", "divide", "acknowledge", "migrate_position"),
        *("on_created", "on_updated", "on_deleted"),
    ),
    "processor": (
        *("check", "plan", "process", "timer", "watermark", "finish", "snapshot", "restore", "migrate_state"),
    ),
    "sink": (
        *("check", "discover", "plan", "begin", "write", "prepare", "commit", "abort", "recover", "readback"),
        *("snapshot", "restore", "on_created", "on_updated", "on_deleted"),
    ),
    "tool": ("check", "call"),
}
"""The operations of each kind that an author may write."""


def describe(components: Iterable[type[Component]]) -> list[dict[str, Json]]:
    """A JSON object for each component: names, words, configuration, abilities, what its author wrote."""
    return [_one(component) for component in components]


def _one(component: type[Component]) -> dict[str, Json]:
    from dataflare.config import input_schema, json_schema
    from dataflare.state import declared_states

    spec = component.spec
    told: dict[str, Json] = {
        "kind": spec.kind,
        "name": spec.name,
        "summary": spec.summary,
        "doc": spec.doc,
        "aliases": list(spec.aliases),
        "deprecated": spec.deprecated,
        "version": spec.version,
        "lanes": spec.lanes,
        "config": json_schema(component),
        "abilities": {name: value for name, value in spec.declared.items() if _plain(value)},
        "operations": [name for name in OPERATIONS.get(spec.kind, ()) if is_overridden(component, name)],
    }
    if spec.kind == "source" and not told["abilities"].get("replay"):
        told["abilities"]["replay"] = "position" if asks_for(component, "read", "position") else "none"
    if spec.kind == "tool":
        told["input"] = input_schema(component)
    if spec.kind == "processor":
        told["states"] = list(declared_states(component))
    return told


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (str, int, float, bool))
