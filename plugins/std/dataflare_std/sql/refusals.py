"""Which staged rows a table would refuse: found by whole sets where SQL can say it, else by halving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dataflare_std.sql.statements import SEQUENCE, quoted
from dataflare_std.sql.target import Refusal

Rows = Callable[[str], list[tuple[Any, ...]]]
Trial = Callable[[str], tuple[str, str] | None]
"""Tries to move the staged rows of a condition; code and message if the table refuses one of them."""


def null_rows(rows: Rows, stage: str, first: int, required: Sequence[str], staged: Sequence[str]) -> list[Refusal]:
    """Rows from ``first`` on without a value that the table demands."""
    found = []
    for name in required:
        only = f" AND {quoted(name)} IS NULL" if name in staged else ""
        text = f"SELECT {SEQUENCE} FROM {quoted(stage)} WHERE {SEQUENCE} >= {first}{only}"
        found += [Refusal(at - first, "sql.not_null", f"the column `{name}` must not be null") for (at,) in rows(text)]
    return found


def repeated_rows(
    rows: Rows, table: str | None, stage: str, others: Sequence[str], first: int, unique: Sequence[str]
) -> list[Refusal]:
    """Rows from ``first`` on whose unique columns are in the table, in another lane's stage, or staged before.

    ``table``: None where its rows will be taken away.
    """
    tables = [*([table] if table else []), *map(quoted, others)]
    places = [f"{other} AS other WHERE " for other in tables]
    places.append(f"{quoted(stage)} AS other WHERE other.{SEQUENCE} < staged.{SEQUENCE} AND ")
    same = " AND ".join(f"other.{quoted(name)} = staged.{quoted(name)}" for name in unique)
    known = " OR ".join(f"EXISTS (SELECT 1 FROM {place}{same})" for place in places)
    text = f"SELECT {SEQUENCE} FROM {quoted(stage)} AS staged WHERE {SEQUENCE} >= {first} AND ({known})"
    message = f"a row with the same {', '.join(f'`{name}`' for name in unique)} is there already"
    return [Refusal(at - first, "sql.unique", message) for (at,) in rows(text)]


def refused_by_trial(trial: Trial, first: int, end: int, left_out: Sequence[int]) -> list[Refusal]:
    """Rows from ``first`` to ``end`` that fail alone; ``left_out`` (places behind ``first``) are refused already."""
    gone = f" AND {SEQUENCE} NOT IN ({', '.join(str(first + at) for at in left_out)})" if left_out else ""
    found: list[Refusal] = []
    waiting = [(first, end)]
    while waiting:
        start, stop = waiting.pop()
        refused = trial(f"{SEQUENCE} >= {start} AND {SEQUENCE} < {stop}{gone}")
        if refused is None:
            continue
        if stop - start == 1:
            found.append(Refusal(start - first, *refused))
        else:
            middle = (start + stop) // 2
            waiting += [(middle, stop), (start, middle)]
    return found
