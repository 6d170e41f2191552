"""A source read to its end, as a table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError, Resume
from dataflare.drive import MAIN, NO_POSITION, SourceDriver
from dataflare.errors import Failed
from dataflare.split import Demand

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare import Context

_ROWS, _BYTES, _SECONDS = 1 << 16, 8 << 20, 0.1


def schema_of_table(source: Any, ctx: Context) -> pa.Schema:
    """The schema of a source's rows: planned, else that of the rows themselves."""
    planned = _driver(source, ctx).plan()
    found = None if planned is None else planned.get(MAIN, planned.get(""))
    return read_table(source, ctx, None).schema if found is None or found.open else found.arrow


def read_table(source: Any, ctx: Context, schema: pa.Schema | None) -> pa.Table:
    """All rows of a source, until it ends or has nothing more for now. Raises Failed for what is no row."""
    import pyarrow as pa

    from dataflare import Schema

    batches = list(_batches(source, ctx))
    if schema is None:
        united = Schema()
        for batch in batches:
            united = united.union(Schema(batch.schema))
        schema = united.arrow
    return pa.Table.from_batches([batch.cast(schema).arrow for batch in batches], schema)


def _batches(source: Any, ctx: Context) -> Iterator[Any]:
    driver = _driver(source, ctx)
    driver.plan()
    driver.open(Resume())
    try:
        for splits, _ in driver.splits(None, frozenset()):
            for split in splits:
                position = NO_POSITION if split.start is None else split.start
                demand = Demand(_ROWS, _BYTES, time.monotonic() + _SECONDS)
                reading_on: Any = driver.read(split, position, demand, None)
                with closing(reading_on) as readings:
                    for reading in readings:
                        if reading.refused:
                            first = reading.refused[0]
                            raise Failed.of(first.code, f"the table cannot be read: {first.message}")
                        if reading.batch is not None:
                            yield reading.batch
                        elif reading.idle:
                            break
                        demand.until = time.monotonic() + _SECONDS
            break  # splits that appear later belong to the next reading
    finally:
        driver.close()


def _driver(source: Any, ctx: Context) -> SourceDriver:
    if source.kind != "source":
        raise ConfigError.of("join.table", "a table is a source", pointer="/table", fix="name a source")
    return SourceDriver(source, replace(ctx, id=f"{ctx.id}-table", state=None))
