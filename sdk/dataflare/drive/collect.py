"""Collecting what a processor gives into outputs and rejects of its input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.batch import Batch, Rejected
from dataflare.drive.base import MAIN, Processed
from dataflare.drive.results import fit
from dataflare.schema import Schema
from dataflare.split import Out

if TYPE_CHECKING:
    import pyarrow as pa


def several(result: Any) -> bool:
    """True for a list of outputs (not of rows)."""
    return isinstance(result, list) and bool(result) and isinstance(result[0], (Out, Batch))


def collect(items: Iterable[Any], batch: Batch, schemas: Mapping[str, Schema]) -> Processed:
    """The outputs of one call on ``batch``. Rows that it rejected are in none of them, where origins are known."""
    outputs = [(name, _derived(rows, batch, schemas.get(name))) for name, rows in named(items)]
    rejected = merged(batch.ledger.entries)
    if rejected:
        refused = _all_rows(rejected)
        outputs = [(name, _without(made, refused)) for name, made in outputs]
    return Processed(outputs, rejected)


def named(items: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    """Output name and rows of each item that has rows."""
    for item in items:
        if item is None:
            continue
        if isinstance(item, Out):
            if item.rows is not None:
                yield item.name, item.rows
        else:
            yield MAIN, item


def _derived(rows: Any, batch: Batch, schema: Schema | None) -> Batch:
    """The rows as a batch that knows its origin, if there is a way to tell."""
    if isinstance(rows, Batch) and rows.ledger is batch.ledger:
        return rows if schema is None else fit(rows, schema)
    return batch.derived(fit(rows, schema))


def merged(entries: list[Rejected]) -> list[Rejected]:
    """The entries with each row refused once, for the first reason given."""
    if len(entries) < 2:
        return list(entries)
    import pyarrow as pa
    import pyarrow.compute as pc

    kept: list[Rejected] = []
    seen: pa.Int64Array | None = None
    for entry in entries:
        rows = entry.rows if seen is None else entry.rows.filter(pc.invert(pc.is_in(entry.rows, value_set=seen)))
        if len(rows):
            kept.append(Rejected(rows, entry.code, entry.message))
            seen = rows if seen is None else pa.concat_arrays([seen, rows])
    return kept


def _all_rows(rejected: list[Rejected]) -> pa.Int64Array:
    import pyarrow as pa

    return rejected[0].rows if len(rejected) == 1 else pa.concat_arrays([entry.rows for entry in rejected])


def _without(batch: Batch, refused: pa.Int64Array) -> Batch:
    import pyarrow as pa
    import pyarrow.compute as pc

    if batch.origin is False or not len(batch):
        return batch
    origin = batch.origin if batch.origin is not None else pa.array(range(len(batch)), pa.int64())
    inside = pc.is_in(origin, value_set=refused)
    return batch.filter(pc.invert(inside)) if pc.any(inside).as_py() else batch
