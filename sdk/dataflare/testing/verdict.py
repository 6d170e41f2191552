"""What a killed flow's sinks may hold, by the guarantee that its plan gave for them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Held = Counter[str]
"""How often each row is there."""


@dataclass(frozen=True)
class Verdict:
    """One kill, one sink: whether it holds what its guarantee allows, and what is too much or too little."""

    kills: str
    """Where it was killed: ``decided:2 then *:5``."""
    sink: str
    guarantee: str
    lost: int = 0
    doubled: int = 0
    wrong: str = ""
    """What the guarantee does not allow; empty where it held."""
    labels: dict[str, str] = field(default_factory=dict)
    """What was run, for the table: the store, the shape of the flow and the like."""

    @property
    def point(self) -> str:
        """The place of the first kill."""
        return self.kills.partition(":")[0]

    @property
    def held(self) -> bool:
        """Whether the guarantee held."""
        return not self.wrong


def counted(rows: Iterable[Any]) -> Held:
    """Rows of any kind that JSON can say, in no order."""
    return Counter(json.dumps(row, sort_keys=True, default=str, ensure_ascii=False) for row in rows)


def level_of(paths: Sequence[Any]) -> str:
    """The guarantee of a sink: what all its paths in a plan leave together."""
    if any(path.loses for path in paths):
        return "best_effort" if any(path.doubles for path in paths) else "at_most_once"
    if any(path.doubles for path in paths):
        return "at_least_once"
    return "effectively_once" if any(path.visible for path in paths) else "exactly_once"


def judged(kills: str, sink: str, guarantee: str, wanted: Held, found: Held) -> Verdict:
    """At rest, once a run has come to its end."""
    lost, doubled = wanted - found, found - wanted
    strange = [row for row in doubled if row not in wanted]
    may_lose = guarantee in ("at_most_once", "best_effort")
    may_double = guarantee in ("at_least_once", "best_effort")
    wrong = []
    if lost and not may_lose:
        wrong.append(f"{lost.total()} rows are lost, for example {next(iter(lost))}")
    if doubled and not may_double:
        wrong.append(f"{doubled.total()} rows are too many, for example {next(iter(doubled))}")
    elif strange:
        wrong.append(f"{len(strange)} rows were never to be written, for example {strange[0]}")
    return Verdict(kills, sink, guarantee, lost.total(), doubled.total(), "; ".join(wrong))


def seen(kills: str, sink: str, guarantee: str, wanted: Held, found: Held) -> Verdict:
    """Between a kill and the next run: no replay may show for a moment, where the guarantee is exactly_once."""
    early = found - wanted if guarantee == "exactly_once" else Counter()
    wrong = f"{early.total()} rows show too often meanwhile, for example {next(iter(early))}" if early else ""
    return Verdict(kills, sink, guarantee, doubled=early.total(), wrong=wrong)
