"""Driving processors: batch-wise, row-wise, keyed, sync and async all look the same from here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from dataflare.batch import Batch
from dataflare.component import Processor
from dataflare.context import Context
from dataflare.drive.base import Driver, Processed
from dataflare.drive.collect import collect, several
from dataflare.drive.keyed import KeyedCalls
from dataflare.drive.planning import plan
from dataflare.drive.rowwise import Rows, all_or_none, call_each
from dataflare.schema import Schema
from dataflare.split import Json
from dataflare.state import bind_state, key_columns


class ProcessorDriver(Driver):
    """Drives a processor."""

    component: Processor

    def __init__(self, component: Processor, ctx: Context) -> None:
        super().__init__(component, ctx)
        self.each = str(component.spec.get("each", "batch"))
        self.columns = key_columns(component)
        """The key columns that ``by`` names; none for a processor without keys."""
        self.inputs: dict[str, Schema] = {}
        self.outputs: dict[str, Schema] = {}
        """Output → schema that results are brought into; set by ``plan``."""
        self._rows: Rows | None = None
        self._keyed = KeyedCalls(self) if self.each == "key" else None
        bind_state(component, ctx)

    def plan(self, schemas: dict[str, Schema]) -> dict[str, Schema]:
        """Input name (``""`` for the main one) → schema; gives output name → schema.

        By ``plan``; else the return annotation, ``rows=``/``adds=``; else a dry run on zero rows. Raises ConfigError.
        """
        planned = plan(self, schemas)
        self.inputs, self.outputs = dict(schemas), planned
        return planned

    def process(self, batch: Batch, input: str = "") -> Processed:
        """One batch. Raises what the author raised (Reject and Retry too); then nothing was kept of the call."""
        batch = batch.as_input()
        if not self.outputs:
            self.plan({input: Schema(batch.schema)})
        if self.each == "row":
            return self._by_row(batch, input)
        if self._keyed is not None:
            return self._keyed.process(batch, input)
        return self._by_batch(batch, input)

    def timer(self, keys: Batch, time: datetime) -> Processed:
        """Due timers."""
        return self._called("timer", keys.as_input(), time=time)

    def watermark(self, time: datetime) -> Processed:
        """The watermark moved."""
        return self._called("watermark", None, time=time)

    def finish(self) -> Processed:
        """End of input."""
        return self._called("finish", None)

    def barrier(self) -> None:
        """An epoch ends: the component puts into its state what it held back."""
        if self.has("barrier"):
            self.invoke("barrier", epoch=self.ctx.epoch)

    def snapshot(self) -> bytes | None:
        """The component's own snapshot, if it has one."""
        data = self.invoke("snapshot") if self.has("snapshot") else None
        return None if data is None else bytes(data)

    def restore(self, data: bytes, version: int) -> None:
        """Continue from a snapshot."""
        self.invoke("restore", data=data, version=version)

    def migrate_states(self, version: int, name: str, values: list[Json]) -> list[Json]:
        """An older version's values of a state in today's form, in their order."""
        return self.component.migrate_states(version, name, values)

    def given(self, batch: Batch, input: str) -> dict[str, Any]:
        """What an operation on a batch may ask for."""
        return {
            "batch": batch,
            "stream": input or batch.envelope.stream,
            "epoch": self.ctx.epoch,
            "schema": Schema(batch.schema),
        }

    def results(self, result: Any) -> Iterable[Any]:
        """The single results in an answer: of a generator, a list of outputs, or just one."""
        result = self.settled(result)
        if result is None:
            return ()
        if hasattr(result, "__next__") or hasattr(result, "__anext__"):
            return self.items(result)
        return result if several(result) else (result,)

    def _by_batch(self, batch: Batch, input: str) -> Processed:
        size = self.component.spec.get("size")
        if not size or len(batch) <= size:
            items = self.results(self.start("process", **self.given(batch, input)))
            return collect(items, batch, self.outputs)
        parts = list(batch.iter_slices(size))
        return collect(self._parts(parts, input), batch, self.outputs)

    def _parts(self, parts: list[Batch], input: str) -> Iterator[Any]:
        most = int(self.component.spec.get("in_flight", 1) or 1)
        operation = self.operation("process")
        if most < 2 or not operation.is_async or operation.is_generator:
            for part in parts:
                yield from self.results(self.start("process", **self.given(part, input)))
            return
        for first in range(0, len(parts), most):
            calls = [self.start("process", **self.given(part, input)) for part in parts[first : first + most]]
            for answer in self.loop.run(all_or_none(calls)):
                yield from self.results(answer)

    def _by_row(self, batch: Batch, input: str) -> Processed:
        operation = self.operation("process")
        if self._rows is None:
            self._rows = Rows(operation.annotation("row"))
        given = {"ctx": self.ctx, **self.resources_of(operation), **self.given(batch, input)}
        in_flight = int(self.component.spec.get("in_flight", 1) or 1) if operation.is_async else 1
        gathered = call_each(self, operation.prepared(given, "row"), self._rows.of(batch), in_flight)
        return gathered.processed(batch, self.outputs)

    def _called(self, name: str, keys: Batch | None, **given: Any) -> Processed:
        if not self.has(name):
            return Processed()
        if keys is not None:
            given["keys"] = keys
        items = list(self.results(self.start(name, **given)))
        return _unrelated(items, self.outputs, keys)


def _unrelated(items: list[Any], schemas: dict[str, Schema], keys: Batch | None) -> Processed:
    """Outputs of a call that has no input rows: none of them has an origin."""
    from dataflare.drive.collect import named
    from dataflare.drive.results import fit

    outputs = [(name, Batch(fit(rows, schemas.get(name)).arrow)) for name, rows in named(items)]
    return Processed(outputs, list(keys.ledger.entries) if keys is not None else [])
