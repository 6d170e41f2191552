"""The table of a crash suite: which place was killed, with which store and sink, and whether the guarantee held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Found = tuple[dict[str, str], Sequence[Sequence[Any]]]
"""The labels of a suite, and a row a verdict: place, sink, guarantee, held, rows lost, rows doubled."""


def table(found: Iterable[Found]) -> Iterator[str]:
    """A line a place, in Markdown, all suites with other ``flow`` labels summed up.

    A cell says how many kills held: ``4``, ``4 (2 doubled)`` where that is allowed, **3 of 4**.
    """
    cells: dict[str, dict[str, list[Sequence[Any]]]] = {}
    columns: dict[str, None] = {}
    for labels, verdicts in found:
        for verdict in verdicts:
            told = [value for name, value in labels.items() if name != "flow"]
            column = " ".join([*told, f"`{verdict[1]}`"])
            columns[column] = None
            cells.setdefault(verdict[0], {}).setdefault(column, []).append(verdict)
    yield f"| place | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for place, row in cells.items():
        yield f"| `{place}` | {' | '.join(_cell(row.get(column, [])) for column in columns)} |"


def _cell(verdicts: Sequence[Sequence[Any]]) -> str:
    if not verdicts:
        return "–"
    held = sum(1 for verdict in verdicts if verdict[3])
    notes = [
        f"{count} {word}"
        for word, at in (("lost", 4), ("doubled", 5))
        if (count := sum(1 for verdict in verdicts if verdict[at]))
    ]
    said = str(held) if held == len(verdicts) else f"**{held} of {len(verdicts)}**"
    return f"{said} ({', '.join(notes)})" if notes else said
