"""What a component is tried on where its plugin gives no example: a configuration by its schema, likely columns.

A processor is tried on them; where it says that a column is missing, it gets one.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare_verify.configs import guess
from dataflare_verify.examples import Example

if TYPE_CHECKING:
    from dataflare.component import Component

Json = Any
ROWS = 6
TRIES = 16
_TEXTS = ("a", "b", "a", "c", "b", "d")
_VALUES: tuple[Callable[[int], Json], ...] = (
    lambda number: number * 3 + 1,
    lambda number: number * 1.5,
    lambda number: _TEXTS[number],
    lambda number: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
)
"""What a column that is asked for may hold: the first kind that works."""
_NAME = re.compile(r"[`'\"]([A-Za-z_]\w*)[`'\"]")
_MISSING = re.compile(r"KeyError|column|field|missing|not found", re.I)


def guessed(component: type[Component], schema: Mapping[str, Json]) -> Example:
    """An example that may or may not do."""
    made = Example(component.kind, component.spec.name, config=guess(schema), guessed=True)
    if component.kind not in ("processor", "sink"):
        return made
    made = replace(made, rows=_rows(dict.fromkeys(_columns(component, made.config), 2)))
    return _suited(component, made) if component.kind == "processor" else made


def _columns(component: type[Component], config: Mapping[str, Json]) -> list[str]:
    """Columns that it says it needs."""
    by = component.spec.get("by")
    keys = config.get(by, ()) if by else ()
    return [*(component.spec.get("reads") or ()), *([keys] if isinstance(keys, str) else keys)]


def _rows(columns: Mapping[str, int]) -> list[dict[str, Json]]:
    """Rows of common columns, and of others: name → the kind of its values."""
    rows = []
    for number in range(ROWS):
        usual = {"id": number, "n": number * 3, "value": number / 4, "name": f"name {number}", "key": _TEXTS[number]}
        rows.append({**usual, **{name: _VALUES[kind](number) for name, kind in columns.items()}})
    return rows


def _suited(component: type[Component], example: Example) -> Example:
    """The example with the columns that the component asks for, as far as its errors name them."""
    from dataflare.testing import process

    wanted = dict.fromkeys(_columns(component, example.config), 2)
    for _ in range(TRIES):
        tried = replace(example, rows=_rows(wanted))
        with tempfile.TemporaryDirectory(prefix="dataflare-") as folder:
            try:
                process(component, tried.rows, **tried.prepare(Path(folder)))
                return tried
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
        named = _NAME.findall(told)
        missing = [name for name in named if name not in tried.rows[0]] if _MISSING.search(told) else []
        of_another_kind = [*(name for name in named if name in wanted), *reversed(wanted)]
        if missing:
            wanted[missing[0]] = 0
        elif of_another_kind:
            wanted[of_another_kind[0]] = (wanted[of_another_kind[0]] + 1) % len(_VALUES)
        else:
            break
    return example
