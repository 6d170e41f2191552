"""Is a right that is asked for part of what was given?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dataflare.grants import effective

Json = Any
Rule = Mapping[str, Json]


def lacking(word: str, asked: Iterable[Rule], given: Iterable[Rule]) -> Iterator[dict[str, Json]]:
    """The rules of a permission that no rule which was given covers, without their reasons.

    A narrower host, method or path than what was given is covered; a wider one is not.
    """
    held = [bare(each) for each in given]
    for rule in map(bare, asked):
        if not any(rule in effective({word: [rule]}, {word: [one]}).get(word, ()) for one in held):
            yield rule


def bare(rule: Rule) -> dict[str, Json]:
    """A rule without its reason."""
    return {key: value for key, value in rule.items() if key != "reason"}
