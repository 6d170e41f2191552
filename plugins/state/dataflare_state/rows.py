"""Keys and letters as rows of the SQLite store's tables."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, get_args

from dataflare.checkpoint import Changes, Letter, LetterStatus, StateChange
from dataflare_state import pieces
from dataflare_state.sums import of_row

Pieces = list[tuple[int, int, str]]
"""The pieces of a state, oldest first: number, bytes, digest."""
STATUSES = get_args(LetterStatus)
COLUMNS = [column.name for column in fields(Letter)]
PART = 64 * 1024 * 1024
"""Bytes of one row of a piece; SQLite has a bound."""


class Unsound(Exception):
    """Rows that are damaged or missing: what is damaged, and the letter that is."""

    def __init__(self, what: str, letter: int | None = None) -> None:
        super().__init__(what)
        self.letter = letter


def keep_state(connection: sqlite3.Connection, flow: str, region: str, changed: list[StateChange]) -> None:
    """Write changed keys: a piece for each state, merged with older ones where it is time to. Raises Unsound."""
    by_state: dict[tuple[str, str], list[StateChange]] = {}
    for change in changed:
        by_state.setdefault((change.step, change.name), []).append(change)
    known = sound_states(connection, flow, region) if by_state else {}
    for of, listed in by_state.items():
        number, kept = known.get(of) or (_new_state(connection, flow, region, *of), [])
        told = json.dumps(_with_piece(connection, kept, listed))
        connection.execute(
            "update state set pieces = ?, sum = ? where id = ?",
            (told, of_row(number, flow, region, *of, told), number),
        )


def sound_states(connection: sqlite3.Connection, flow: str, region: str) -> dict[tuple[str, str], tuple[int, Pieces]]:
    """The states of a region: number and pieces, oldest first. Raises Unsound."""
    rows = connection.execute(
        "select id, step, name, pieces, sum from state where flow = ? and region = ?", (flow, region)
    ).fetchall()
    lease = connection.execute("select states from lease where flow = ? and region = ?", (flow, region)).fetchone()
    if len(rows) != (lease[0] if lease else 0):
        raise Unsound("the list of its states")
    for number, step, name, told, total in rows:
        if total != of_row(number, flow, region, step, name, told):
            raise Unsound("the list of its states")
    return {(step, name): (number, json.loads(told)) for number, step, name, told, _ in rows}


def sound_piece(connection: sqlite3.Connection, number: int, digest: str) -> bytes:
    """The content of a piece. Raises Unsound."""
    rows = connection.execute("select data from piece where number = ? order by part", (number,)).fetchall()
    content: bytes = rows[0][0] if len(rows) == 1 else b"".join(data for (data,) in rows)
    if _digest(content) != digest:
        raise Unsound("one of its pieces")
    return content


def _with_piece(connection: sqlite3.Connection, kept: Pieces, changed: list[StateChange]) -> Pieces:
    content: bytes | None = pieces.keys_piece(changed)
    start = pieces.mergeable([*(size for _, size, _ in kept), len(content or b"")])
    if start < len(kept):
        older = [sound_piece(connection, number, digest) for number, _, digest in kept[start:]]
        content = pieces.merged_keys([*older, content or b""], time.time(), bottom=start == 0)
        connection.executemany("delete from piece where number = ?", [(number,) for number, _, _ in kept[start:]])
    if content is None:
        return kept[:start]
    (made,) = connection.execute("select coalesce(max(number), 0) + 1 from piece").fetchone()
    for part, at in enumerate(range(0, len(content), PART)):
        connection.execute("insert into piece values (?, ?, ?)", (made, part, content[at : at + PART]))
    return [*kept[:start], (made, len(content), _digest(content))]


def _new_state(connection: sqlite3.Connection, flow: str, region: str, step: str, name: str) -> int:
    """The number of a new state, which is counted at the region's lease."""
    made = connection.execute(
        "insert into state (flow, region, step, name, pieces, sum) values (?, ?, ?, ?, '[]', 0)",
        (flow, region, step, name),
    ).lastrowid
    connection.execute("update lease set states = states + 1 where flow = ? and region = ?", (flow, region))
    return int(made or 0)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
    connection.executemany("delete from letter where id = ? and flow = ?", [(gone, flow) for gone in changes.forgotten])


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
