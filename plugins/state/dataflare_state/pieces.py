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
"""This many pieces of about one size become one."""
AT_ONCE = 10_000


@dataclass(frozen=True)
class Piece:
    """A part of a file with changes of one state (``step``, ``name``), or with the letters ``first`` to ``last``.

    ``size`` is in bytes, ``level`` 0 for what one epoch changed.
    """

    holds: Literal["state", "letters"]
    file: str
    part: str
    size: int = 0
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
    columns = [("key", pa.binary()), ("value", pa.binary()), ("expires", pa.float64()), ("group", pa.int32())]
    schema = pa.schema(columns)
    # A million at once would keep every thread waiting while they become Arrow.
    parts = (last[first : first + AT_ONCE] for first in range(0, len(last), AT_ONCE))
    batches = [
        pa.record_batch([pa.array([getattr(change, name) for change in part], of) for name, of in columns], schema)
        for part in parts
    ]
    return _written(pa.Table.from_batches(batches, schema).combine_chunks())


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


def count_of(content: bytes) -> int:
    """The number of rows of a piece."""
    return len(_read(content))


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


def mergeable(sizes: list[int]) -> int:
    """From which piece on (bytes each, oldest first, the last one new) all are to become one; the last: none.

    A piece swallows smaller ones before it, and eight of about one size become one, so a key is written again each time
    its piece grows eightfold. Once the newer pieces together are as large as the oldest, all become one: no more than
    about half of what is kept is out of date.
    """
    if sum(sizes[1:]) >= sizes[0] and len(sizes) > FAN:
        return 0
    start, total = len(sizes) - 1, sizes[-1]
    while True:
        tier = _tier(total)
        smaller = start
        while smaller and _tier(sizes[smaller - 1]) < tier:
            smaller -= 1
        alike = smaller
        while alike and _tier(sizes[alike - 1]) == tier:
            alike -= 1
        found = alike if smaller - alike >= FAN - 1 else smaller
        if found == start:
            return start
        total += sum(sizes[found:start])
        start = found


def _tier(size: int) -> int:
    return max(size.bit_length() - 1, 0) // 3


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
