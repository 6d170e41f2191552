"""Calling an author's function row by row: rows in, rows out, each with the input row it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from dataflare.batch import Batch, Rejected
from dataflare.drive.base import MAIN, Driver, Processed
from dataflare.drive.results import describes_rows, fit, unknown_column
from dataflare.errors import Reject
from dataflare.schema import Schema
from dataflare.split import Out


class Rows:
    """Hands out the rows of batches in the type that the author's ``row`` is annotated with."""

    def __init__(self, annotation: Any) -> None:
        self._adapter: Any = None
        if describes_rows(annotation):
            from pydantic import TypeAdapter

            self._adapter = TypeAdapter(annotation)

    def of(self, batch: Batch) -> Iterator[Any]:
        """Each row; one that does not fit the type is a Reject instead."""
        if self._adapter is None:
            return iter(batch.to_rows())
        return map(self._typed, batch.to_rows())

    def _typed(self, row: dict[str, Any]) -> Any:
        from pydantic import ValidationError

        try:
            return self._adapter.validate_python(row)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            return Reject("row.type", f"`{place}`: {first['msg']}")


class Gathered:
    """Rows by output with their origins, and refused rows by reason."""

    def __init__(self) -> None:
        self._outputs: dict[str, tuple[list[dict[str, Any]], list[int]]] = {}
        self._refused: dict[tuple[str, str], list[int]] = {}

    def take(self, result: Any, index: int) -> None:
        """What one row gave."""
        if result is None:
            return
        if isinstance(result, dict):
            self._add(MAIN, result, index)
        elif isinstance(result, Reject):
            self.refuse(result, index)
        elif isinstance(result, Out):
            for row in _rows_of(result.rows):
                self._add(result.name, row, index)
        elif isinstance(result, (list, tuple)) or hasattr(result, "__next__"):
            for item in result:
                self.take(item, index)
        else:
            for row in _rows_of(result):
                self._add(MAIN, row, index)

    def refuse(self, reason: Reject, index: int) -> None:
        """The row is rejected for this reason."""
        self._refused.setdefault((reason.code, reason.message), []).append(index)

    def _add(self, output: str, row: dict[str, Any], index: int) -> None:
        rows, origins = self._outputs.setdefault(output, ([], []))
        rows.append(row)
        origins.append(index)

    def rejected(self) -> list[Rejected]:
        """The refused rows."""
        import pyarrow as pa

        return [Rejected(pa.array(rows, pa.int64()), *reason) for reason, rows in self._refused.items()]

    def processed(self, batch: Batch, schemas: Mapping[str, Schema]) -> Processed:
        """Batches of what was gathered. Raises ConfigError (``step.unknown_column``) for keys that were not planned."""
        import pyarrow as pa

        outputs = []
        for name, (rows, origins) in self._outputs.items():
            schema = schemas.get(name)
            if schema is not None and not schema.open:
                _check_keys(rows, schema)
            origin = pa.array(origins, pa.int64())
            made = Batch(fit(rows, schema).arrow, batch.envelope, origin=origin, ledger=batch.ledger)
            outputs.append((name, made))
        return Processed(outputs, self.rejected())


def call_each(driver: Driver, call: Callable[[Any], Any], rows: Iterator[Any], in_flight: int = 1) -> Gathered:
    """Call for each row, in order; a raised Reject refuses that row, everything else ends the call."""
    gathered = Gathered()
    if in_flight > 1:
        results = driver.loop.run(_in_flight(driver, call, list(rows), in_flight))
        for index, result in enumerate(results):
            gathered.take(result, index)
        return gathered
    for index, row in enumerate(rows):
        if isinstance(row, Reject):
            gathered.refuse(row, index)
            continue
        try:
            result = call(row)
            if result is None or type(result) is dict:
                gathered.take(result, index)
            else:
                gathered.take(_finished(driver, result), index)
        except Reject as reason:
            gathered.refuse(reason, index)
    return gathered


def _finished(driver: Driver, result: Any) -> Any:
    result = driver.settled(result)
    if hasattr(result, "__anext__") or hasattr(result, "__next__"):
        return list(driver.items(result))
    return result


async def _in_flight(driver: Driver, call: Callable[[Any], Any], rows: list[Any], most: int) -> list[Any]:
    import asyncio

    gate = asyncio.Semaphore(most)

    async def one(row: Any) -> Any:
        if isinstance(row, Reject):
            return row
        async with gate:
            try:
                return await _answer(call(row))
            except Reject as reason:
                return reason

    return await all_or_none([one(row) for row in rows])


async def _answer(result: Any) -> Any:
    if hasattr(result, "__anext__"):
        return [item async for item in result]
    return await result if hasattr(result, "__await__") else result


async def all_or_none(calls: list[Awaitable[Any]]) -> list[Any]:
    """The answers in order; the first error cancels the calls still running."""
    import asyncio

    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _rows_of(rows: Any) -> list[dict[str, Any]]:
    if isinstance(rows, dict):
        return [rows]
    if isinstance(rows, list):
        return [item for row in rows for item in _rows_of(row)]
    if dataclasses.is_dataclass(rows) and not isinstance(rows, type):
        return [{column.name: getattr(rows, column.name) for column in dataclasses.fields(rows)}]
    if hasattr(type(rows), "model_fields"):
        return [dict(rows)]
    return Batch.of(rows).to_rows()


def _check_keys(rows: list[dict[str, Any]], schema: Schema) -> None:
    known = set(schema.names)
    for row in rows:
        if not known.issuperset(row):
            raise unknown_column(next(str(name) for name in row if name not in known), schema.names)
