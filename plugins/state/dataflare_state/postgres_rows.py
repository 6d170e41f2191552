"""Checkpoints, keys and letters as rows of the PostgreSQL store's tables; keys many a statement, one array a column."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dataflare.checkpoint import Changes, Checkpoint, EpochInfo, Letter, StateChange
from dataflare_state.rows import COLUMNS, STATUSES, Unsound, as_letter
from dataflare_state.sums import of_key, of_row
from dataflare_state.tables import SHORT, place_of

if TYPE_CHECKING:
    from dataflare_state.server import Connection

AT_ONCE = 20_000
GIVEN = [column for column in COLUMNS if column != "id"]
EXPIRED_A_COMMIT = 5_000
"""How many expired keys one commit forgets at most, so that none becomes slow."""

STATE = "insert into state (flow, region, step, name) values (%s, %s, %s, %s) on conflict do nothing"
SET = """
insert into keyed
select state.id, new.* from state,
    unnest(%b::bytea[], %b::bytea[], %b::smallint[], %b::bytea[], %b::double precision[], %b::bigint[]) as new
where flow = %s and region = %s and step = %s and name = %s
on conflict (state, place)
do update set key_group = excluded.key_group, value = excluded.value, expires = excluded.expires,
    sum = excluded.sum
"""
FORGET = """
delete from keyed using state
where state = id and flow = %s and region = %s and step = %s and name = %s and place = any(%b::bytea[])
"""
EXPIRE = """
delete from keyed where (state, place) in (
    select state, place from keyed join state on state = id
    where flow = %s and region = %s and expires is not null and expires < %s limit %s
)
"""


def keep_checkpoint(
    connection: Connection, checkpoint: Checkpoint, body: str, seal: str, blobs: Mapping[str, str]
) -> None:
    """Write a checkpoint and its snapshots, where they are not there yet."""
    of = (checkpoint.flow, checkpoint.region)
    told = (checkpoint.finished, checkpoint.committed_at)
    named = (*of, checkpoint.epoch, checkpoint.incarnation, body, seal, checkpoint.settled, *told)
    sum_of = partial(of_row, *of, checkpoint.epoch, seal, checkpoint.incarnation)
    connection.execute(
        "insert into checkpoint values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
        (*named, sum_of(checkpoint.settled, *told), sum_of(True, *told)),
    )
    for digest, data in blobs.items():
        connection.execute("insert into blob values (%s, %s, %s, %s) on conflict do nothing", (*of, digest, data))
        connection.execute(
            "insert into blob_use values (%s, %s, %s, %s) on conflict do nothing", (*of, checkpoint.epoch, digest)
        )


def sealed_checkpoint(
    connection: Connection, flow: str, region: str, epoch: int | None
) -> tuple[Any, list[Any]] | None:
    """A checkpoint's row (the last one's, where no epoch is named) and its snapshots, of one moment."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        row = connection.execute(
            "select epoch, body, digest, incarnation, settled, finished, committed_at, sum from checkpoint "
            "where flow = %s and region = %s "
            "and (%s::bigint is null or epoch = %s) order by epoch desc limit 1",
            (flow, region, epoch, epoch),
        ).fetchone()
        blobs = connection.execute(
            "select digest, data from blob join blob_use using (flow, region, digest) "
            "where flow = %s and region = %s and epoch = %s",
            (flow, region, row[0] if row else None),
        ).fetchall()
    return (row, blobs) if row else None


def history_of(connection: Connection, flow: str, region: str) -> list[EpochInfo]:
    """The kept epochs, newest first."""
    rows = connection.execute(
        "select epoch, committed_at, settled, finished, octet_length(body) from checkpoint "
        "where flow = %s and region = %s order by epoch desc",
        (flow, region),
    )
    return [EpochInfo(*row) for row in rows]


def keep_state(connection: Connection, flow: str, region: str, changed: list[StateChange]) -> None:
    """Write changed keys, and forget some expired ones."""
    by_state: dict[tuple[str, str], dict[bytes, StateChange]] = {}
    for change in changed:
        by_state.setdefault((change.step, change.name), {})[change.key] = change
    for of, last in by_state.items():
        named = (flow, region, *of)
        connection.execute(STATE, named)
        for some in _some([change for change in last.values() if change.value is not None]):
            columns = (
                [place_of(change.key) for change in some],
                [change.key if len(change.key) > SHORT else None for change in some],
                [change.group for change in some],
                [change.value for change in some],
                [change.expires for change in some],
                [of_key(change.key, change.value or b"", change.expires) for change in some],
            )
            connection.execute(SET, (*columns, *named))
        for some in _some([change for change in last.values() if change.value is None]):
            connection.execute(FORGET, (*named, [place_of(change.key) for change in some]))
    connection.execute(EXPIRE, (flow, region, time.time(), EXPIRED_A_COMMIT))


def file_letters(connection: Connection, flow: str, changes: Changes, at: str) -> None:
    """Add letters and mark those replayed."""
    query = f"insert into letter ({', '.join(GIVEN)}, sum) values ({', '.join(['%s'] * len(GIVEN))}, %s)"
    for letter in changes.letters:
        dated = replace(letter, at=letter.at or at)
        row = {column: _stored(column, getattr(dated, column)) for column in GIVEN}
        connection.execute(query, [*row.values(), _sum_of(row)])
    if changes.replayed:
        mark = "update letter set status = 'replayed' where flow = %s and id = any(%s)"
        connection.execute(mark, (flow, changes.replayed))
    if changes.forgotten:
        connection.execute("delete from letter where flow = %s and id = any(%s)", (flow, changes.forgotten))


def sound_letter(row: Sequence[Any]) -> Letter:
    """The letter of a row of ``COLUMNS`` and its sum. Raises Unsound."""
    *columns, told = row
    found = dict(zip(COLUMNS, columns, strict=True))
    if told != _sum_of(found) or found["status"] not in STATUSES:
        raise Unsound(f"the dead letter {found['id']}", found["id"])
    return as_letter(columns)


def _sum_of(row: Mapping[str, Any]) -> int:
    return of_row(*(row[column] for column in GIVEN if column not in ("status", "rows")), row["rows"])


def _some(changes: list[StateChange]) -> Iterator[list[StateChange]]:
    changes.sort(key=lambda change: change.key)  # in the tree's order
    for start in range(0, len(changes), AT_ONCE):
        yield changes[start : start + AT_ONCE]


def _stored(column: str, value: Any) -> Any:
    if column == "place":
        return json.dumps(value)
    if isinstance(value, str):
        # A file name that is not UTF-8 may stand in the name of a split; and no text here may hold a zero.
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return value
