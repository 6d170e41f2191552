"""Keys and letters as rows of the SQLite store's tables."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, get_args

from dataflare.checkpoint import Changes, Letter, LetterStatus, StateChange
from dataflare_state.sums import of_key, of_row

AT_ONCE = 10_000
TOTAL = 0xFF_FFFF_FFFF_FFFF
"""What the totals of keys are kept modulo (56 bits)."""
STATUSES = get_args(LetterStatus)
COLUMNS = [column.name for column in fields(Letter)]
EXPIRED_A_COMMIT = 5_000
"""How many expired keys one commit forgets at most, so that none becomes slow."""


class Unsound(Exception):
    """Rows that are damaged or missing: what is damaged, and the letter that is."""

    def __init__(self, what: str, letter: int | None = None) -> None:
        super().__init__(what)
        self.letter = letter


def keep_state(connection: sqlite3.Connection, flow: str, region: str, changed: list[StateChange]) -> None:
    """Write changed keys, and forget some expired ones."""
    numbers = {of: _number(connection, flow, region, *of) for of in {(change.step, change.name) for change in changed}}
    last = {(numbers[change.step, change.name], change.key): change for change in changed}
    connection.executemany(
        "insert into keyed values (?, ?, ?, ?, ?, ?) on conflict do update set "
        "key_group = excluded.key_group, value = excluded.value, expires = excluded.expires, sum = excluded.sum",
        (
            (number, key, change.group, change.value, change.expires, of_key(key, change.value, change.expires))
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


def sound_states(connection: sqlite3.Connection, flow: str, region: str) -> dict[tuple[str, str], tuple[int, int, int]]:
    """The states of a region: number, keys, and the total of their sums. Raises Unsound."""
    rows = connection.execute(
        "select id, step, name, keys, total, sum from state where flow = ? and region = ?", (flow, region)
    ).fetchall()
    lease = connection.execute("select states from lease where flow = ? and region = ?", (flow, region)).fetchone()
    if len(rows) != (lease[0] if lease else 0):
        raise Unsound("the list of its states")
    for number, step, name, _, _, total in rows:
        if total != of_row(number, flow, region, step, name):
            raise Unsound("the list of its states")
    return {(step, name): (number, keys, total) for number, step, name, keys, total, _ in rows}


def sound_keys(
    connection: sqlite3.Connection, number: int, keys: int, total: int
) -> Iterator[tuple[bytes, bytes, float | None]]:
    """All keys of a state, expired ones too, in the order of the keys. Raises Unsound; at the end, if keys are gone."""
    cursor = connection.execute("select key, value, expires, sum from keyed where state = ? order by key", (number,))
    while rows := cursor.fetchmany(AT_ONCE):
        for key, value, expires, told in rows:
            if told != of_key(key, value, expires):
                raise Unsound("one of its keys")
            yield key, value, expires
            keys, total = keys - 1, total - told
    if keys or total & TOTAL:
        raise Unsound("keys are missing")


def _number(connection: sqlite3.Connection, flow: str, region: str, step: str, name: str) -> int:
    """The number of a state; a new one is counted at the region's lease."""
    named = (flow, region, step, name)
    query = "select id from state where flow = ? and region = ? and step = ? and name = ?"
    found = connection.execute(query, named).fetchone()
    if found is None:
        made = connection.execute(
            "insert into state (flow, region, step, name, keys, total, sum) values (?, ?, ?, ?, 0, 0, 0)", named
        ).lastrowid
        connection.execute("update state set sum = ? where id = ?", (of_row(made, *named), made))
        connection.execute("update lease set states = states + 1 where flow = ? and region = ?", (flow, region))
        found = (made,)
    return int(found[0])


def _place(item: tuple[tuple[int, bytes], StateChange]) -> tuple[int, bytes]:
    return item[0]


def file_letters(connection: sqlite3.Connection, flow: str, changes: Changes, at: str) -> None:
    """Add letters and mark those replayed."""
    if changes.letters:
        query = "select max(coalesce((select seq from sqlite_sequence where name = 'letter'), 0), "
        last = connection.execute(query + "coalesce((select max(id) from letter), 0))").fetchone()[0]
        stored = [
            [_stored(column, getattr(letter, column)) for column in COLUMNS]
            for letter in (
                replace(letter, at=letter.at or at, id=last + number)
                for number, letter in enumerate(changes.letters, 1)
            )
        ]
        connection.executemany(
            f"insert into letter ({', '.join(COLUMNS)}, head, sum) values ({', '.join('?' * len(COLUMNS))}, ?, ?)",
            ([*row, of_row(*_head(row)), of_row(*_fixed(row))] for row in stored),
        )
    connection.executemany(
        "update letter set status = 'replayed' where id = ? and flow = ?", [(done, flow) for done in changes.replayed]
    )


def check_letters(connection: sqlite3.Connection, flow: str) -> None:
    """Are all letters of a flow there, and what they are found by? Raises Unsound."""
    row = connection.execute("select count from letters where flow = ?", (flow,)).fetchone()
    left = row[0] if row else 0
    for number, region, step, code, status, head in connection.execute(
        "select id, region, step, code, status, head from letter where flow = ?", (flow,)
    ):
        if head != of_row(number, flow, region, step, code) or status not in STATUSES:
            raise Unsound(f"the dead letter {number}", number)
        left -= 1
    if left:
        raise Unsound("dead letters are missing")


def _stored(column: str, value: Any) -> Any:
    if column == "place":
        return json.dumps(value)
    # A file name that is not UTF-8 may stand in the name of a split.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def as_letter(row: Sequence[Any]) -> Letter:
    """The letter of a row of ``COLUMNS``."""
    given = dict(zip(COLUMNS, row, strict=True))
    return Letter(**{**given, "place": json.loads(given["place"])})


def sound_letter(row: Sequence[Any]) -> Letter:
    """The letter of a row of ``COLUMNS`` and its sum. Raises Unsound."""
    *columns, told = row
    if told != of_row(*_fixed(columns)):
        number = columns[COLUMNS.index("id")]
        raise Unsound(f"the dead letter {number}", number)
    return as_letter(columns)


def _head(row: Sequence[Any]) -> list[Any]:
    """What letters are found by."""
    given = dict(zip(COLUMNS, row, strict=True))
    return [given[column] for column in ("id", "flow", "region", "step", "code")]


def _fixed(row: Sequence[Any]) -> list[Any]:
    """What does not change of a letter, its rows last."""
    given = dict(zip(COLUMNS, row, strict=True))
    return [given[column] for column in COLUMNS if column not in ("status", "rows")] + [given["rows"]]
