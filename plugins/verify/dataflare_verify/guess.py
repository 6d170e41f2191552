"""What a component is tried on where its plugin gives no example: a configuration by its schema, common columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflare_verify.configs import guess
from dataflare_verify.examples import Example

if TYPE_CHECKING:
    from dataflare.component import Component

Json = Any
_TEXTS = ("a", "b", "a", "c", "b", "d")


def guessed(component: type[Component], schema: Mapping[str, Json]) -> Example:
    """An example that may or may not do."""
    config = guess(schema)
    rows: list[dict[str, Json]] = []
    if component.kind in ("processor", "sink"):
        rows = [_row(number, _columns(component, config)) for number in range(6)]
    return Example(component.kind, component.spec.name, config=config, rows=rows, guessed=True)


def _columns(component: type[Component], config: Mapping[str, Json]) -> list[str]:
    """Columns that it says it needs."""
    by = component.spec.get("by")
    keys = config.get(by, ()) if by else ()
    return [*(component.spec.get("reads") or ()), *([keys] if isinstance(keys, str) else keys)]


def _row(number: int, more: list[str]) -> dict[str, Json]:
    row: dict[str, Json] = {"id": number, "n": number * 3, "value": number / 4, "name": f"name {number}"}
    return {**dict.fromkeys(more, _TEXTS[number]), **row, "key": _TEXTS[number]}
