"""How a run ended, as it goes from one process to another."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dataflare.errors import Problem
from dataflare_host.kinds import Outcome

Json = Any


def outcome_json(outcome: Outcome) -> Json:
    """The outcome as JSON."""
    return {**asdict(outcome), "problems": [problem.as_json() for problem in outcome.problems]}


def outcome_of(told: Json) -> Outcome:
    """The outcome that ``outcome_json`` told."""
    problems = tuple(Problem.from_json(item) for item in told["problems"])
    return Outcome(**{**told, "problems": problems})
