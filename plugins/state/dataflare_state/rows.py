"""Keys and letters as rows of the SQLite store's tables."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import fields, replace
from typing import Any

from dataflare.checkpoint import Changes, Letter, StateChange

COLUMNS = [column.name for column in fields(Letter)]
EXPIRED_A_COMMIT = 5_000
"""How many expired keys one commit forgets at most, so that none becomes slow."""


def keep_state(connection: sqlite3.Connection, flow: str, region: str, changed: list[StateChange]) -> None:
    """Write changed keys, and forget some expired ones."""
    numbers: dict[tuple[str, str], int] = {}
    for of in {(change.step, change.name) for change in changed}:
        named = (flow, region, *of)
        connection.execute("insert or ignore into state (flow, region, step, name) values (?, ?, ?, ?)", named)
        numbers[of] = connection.execute(
            "select id from state where flow = ? and region = ? and step = ? and name = ?", named
        ).fetchone()[0]
    last = {(numbers[change.step, change.name], change.key): change for change in changed}
    connection.executemany(
        "insert or replace into keyed values (?, ?, ?, ?, ?)",
        (
            (number, key, change.group, change.value, change.expires)
            for (number, key), change in sorted(last.items(), key=_place)  # in the tree's order: twice as fast
            if change.value is not None
        ),
    )
    connection.executemany(
        "delete from keyed where state = ? and key = ?", (of for of, change in last.items() if change.value is None)
    )
    connection.execute(
        "delete from keyed where (state, key) in "
        "(select state, key from keyed where expires is not null and expires < ? limit ?)",
        (time.time(), EXPIRED_A_COMMIT),
    )


def _place(item: tuple[tuple[int, bytes], StateChange]) -> tuple[int, bytes]:
    return item[0]


def file_letters(connection: sqlite3.Connection, flow: str, changes: Changes, at: str) -> None:
    """Add letters and mark those replayed."""
    columns = [column for column in COLUMNS if column != "id"]
    connection.executemany(
        f"insert into letter ({', '.join(columns)}) values ({', '.join('?' * len(columns))})",
        (
            [_stored(column, getattr(letter, column)) for column in columns]
            for letter in (replace(letter, at=letter.at or at) for letter in changes.letters)
        ),
    )
    connection.executemany(
        "update letter set status = 'replayed' where id = ? and flow = ?", [(done, flow) for done in changes.replayed]
    )


def _stored(column: str, value: Any) -> Any:
    if column == "place":
        return json.dumps(value)
    # A file name that is not UTF-8 may stand in the name of a split.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def as_letter(row: tuple[Any, ...]) -> Letter:
    """The letter of a row of ``COLUMNS``."""
    given = dict(zip(COLUMNS, row, strict=True))
    return Letter(**{**given, "place": json.loads(given["place"])})
