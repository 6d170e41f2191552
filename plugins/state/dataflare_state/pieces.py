"""Keys and letters as Arrow pieces inside record files: made, read, merged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from dataflare.checkpoint import Letter, StateChange

if TYPE_CHECKING:
    import pyarrow as pa

FAN = 8
"""This many pieces of one level become one of the next: a key is rewritten once a level, never each epoch."""
AT_ONCE = 10_000


@dataclass(frozen=True)
class Piece:
    """A part of a file with changes of one state (``step``, ``name``), or with the letters ``first`` to ``last``."""

    holds: Literal["state", "letters"]
    file: str
    part: str
    level: int = 0
    step: str = ""
    name: str = ""
    first: int = 0
    last: int = 0

    @property
    def of(self) -> tuple[str, str, str]:
        """What it is a piece of."""
        return self.holds, self.step, self.name


def keys_piece(changes: Iterable[StateChange]) -> bytes:
    """The last change of each key, as Arrow IPC; a null value forgets the key."""
    import pyarrow as pa

    last = list({change.key: change for change in changes}.values())
    return _written(
        pa.table(
            {
                "key": pa.array([change.key for change in last], pa.binary()),
                "value": pa.array([change.value for change in last], pa.binary()),
                "expires": pa.array([change.expires for change in last], pa.float64()),
                "group": pa.array([change.group for change in last], pa.int32()),
            }
        )
    )


def live_keys(contents: list[bytes], now: float) -> Iterator[tuple[bytes, bytes, float | None]]:
    """The keys of a state from its pieces, oldest first."""
    if not contents:
        return
    for batch in _live(_newest_wins(contents), now).to_batches(max_chunksize=AT_ONCE):
        columns = (batch.column(name).to_pylist() for name in ("key", "value", "expires"))
        yield from zip(*columns, strict=True)


def merged_keys(contents: list[bytes], now: float, *, bottom: bool) -> bytes | None:
    """One piece for several, oldest first; None if nothing is left.

    Only where no older piece lies below may a forgotten or expired key be left out: above one it hides the older value.
    """
    table = _newest_wins(contents)
    if bottom:
        table = _live(table, now)
    return _written(table) if len(table) else None


def letters_piece(letters: Iterable[Letter]) -> bytes:
    """Letters as Arrow IPC."""
    import pyarrow as pa

    listed = list(letters)
    told = [json.dumps({**asdict(replace(letter, rows=b"")), "rows": None}) for letter in listed]
    return _written(
        pa.table(
            {
                "id": pa.array([letter.id for letter in listed], pa.int64()),
                "told": pa.array(told, pa.string()),
                "rows": pa.array([letter.rows for letter in listed], pa.large_binary()),
            }
        )
    )


def read_letters(content: bytes, after: int) -> Iterator[Letter]:
    """The letters of a piece behind the id ``after``."""
    import pyarrow.compute as pc

    table = _read(content)
    for row in table.filter(pc.greater(table["id"], after)).to_pylist():
        yield Letter(**{**json.loads(row["told"]), "rows": row["rows"]})


def merged_letters(contents: list[bytes]) -> bytes:
    """One piece for several, oldest first."""
    import pyarrow as pa

    return _written(pa.concat_tables([_read(content) for content in contents]))


def due(pieces: list[Piece]) -> tuple[int, int] | None:
    """Which pieces of one thing (oldest first) to merge now: from where to the end, and the level of the result."""
    start = next((index for index, piece in enumerate(pieces) if piece.level == 0), len(pieces))
    if len(pieces) - start < 2:
        return None
    level = 1
    while sum(piece.level == level for piece in pieces[:start]) >= FAN - 1:
        start = next(index for index, piece in enumerate(pieces) if piece.level <= level)
        level += 1
    return start, level


def _newest_wins(contents: list[bytes]) -> pa.Table:
    import pyarrow as pa

    tables = [_read(content) for content in contents]
    if len(tables) == 1:
        return tables[0]
    table = pa.concat_tables(tables)
    numbered = table.select(["key"]).append_column("at", pa.array(range(len(table)), pa.int64()))
    last = numbered.group_by("key").aggregate([("at", "max")])["at_max"]
    return table.take(last)


def _live(table: pa.Table, now: float) -> pa.Table:
    import pyarrow.compute as pc

    alive = pc.fill_null(pc.greater(table["expires"], now), True)
    return table.filter(pc.and_(alive, pc.is_valid(table["value"])))


def _written(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _read(content: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all()
