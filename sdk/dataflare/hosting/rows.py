"""Batches on their way to a guest and back: in its encoding, cut to the size that one frame may have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataflare.batch import Rejected
from dataflare.guest.encoding import Encoding, Part, decode, json_objects

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.schema import Schema

MOST = 16 << 20
"""Bytes of one batch in one frame."""


def slices(batch: Batch) -> Iterator[tuple[int, Batch]]:
    """The batch in parts of at most 16 MiB, each with the number of its first row.

    A row that is larger than that is refused (``row_too_large``) in the batch's ledger, and in no part.
    """
    if batch.nbytes <= MOST:
        yield 0, batch
        return
    pending = [(0, batch)]
    while pending:
        first, part = pending.pop()
        if _size(part) <= MOST:
            yield first, part
        elif len(part) == 1:
            part.reject([True], "row_too_large", f"the row has more than {MOST:,} bytes")
        else:
            half = len(part) // 2
            pending += [(first + half, part.slice(half)), (first, part.slice(0, half))]


def moved(rejected: Rejected, part: Batch, first: int) -> Rejected:
    """A reject of a part, as one of the batch that starts at row ``first``."""
    if part.origin is not None and part.origin is not False:
        return Rejected(part.origin.take(rejected.rows), rejected.code, rejected.message)
    if not first:
        return rejected
    import pyarrow.compute as pc

    return Rejected(pc.add(rejected.rows, first), rejected.code, rejected.message)


def rows_in(part: Part, encoding: Encoding, planned: Schema | None, told: Schema | None = None) -> Any:
    """The rows in an answer: a Batch, or JSON rows as they are where no schema tells their types.

    ``told``: what the guest says of these rows; it counts where they were not planned.
    """
    if encoding == "arrow":
        return decode(part, "arrow")
    if planned is not None and len(planned) and not planned.open:
        return decode(part, "json", planned)
    rows = json_objects(part)
    return rows if told is None else _typed(rows, told)


def _typed(rows: list[dict[str, Any]], schema: Schema) -> Batch:
    """Rows with the columns of a schema; with an open one, others stay in their place, as they are."""
    from dataflare.batch import Batch
    from dataflare.json_rows import from_json_rows

    known = from_json_rows(rows, schema)
    if not schema.open:
        return Batch(known)
    names = dict.fromkeys(name for row in rows for name in row)
    if not names:
        return Batch.of(rows)
    return Batch.of({name: known[name] if name in schema else [row.get(name) for row in rows] for name in names})


def _size(batch: Batch) -> int:
    return int(batch.arrow.get_total_buffer_size()) if batch.origin is None else batch.nbytes
