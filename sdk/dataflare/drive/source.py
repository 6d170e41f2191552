"""Driving sources: splits, readings and positions."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeGuard
from weakref import WeakSet

from dataflare.batch import Batch, Envelope
from dataflare.component import Source
from dataflare.context import Context
from dataflare.drive.base import NO_POSITION, Driver, NoPosition, Reading
from dataflare.drive.results import base_argument, element_type, fit_read, schema_of_rows, schemas_by_name
from dataflare.errors import ConfigError
from dataflare.json_types import JsonType
from dataflare.schema import Schema
from dataflare.split import Demand, Idle, Json, Out, Refused, Split, Stream

RAW_LIMIT = 64 * 1024
"""Bytes that are kept of what could not be read."""
_ALLOWED = "yield rows, (rows, position), Idle(...), Out(stream, rows), (Out(...), position) or Refused(...)"


class SourceDriver(Driver):
    """Drives a source."""

    component: Source[Any]

    def __init__(self, component: Source[Any], ctx: Context) -> None:
        super().__init__(component, ctx)
        kind = base_argument(type(component), Source)
        read = self.operation("read")
        self.position = JsonType(kind if kind is not None else read.annotation("position"), "position")
        self._being_read: WeakSet[Generator[Reading]] = WeakSet()
        self.schemas: dict[str, Schema] = {}
        """Stream → schema that rows without types of their own are read as; set by ``plan``, or by the engine."""
        self.agreed: Schema | None = None
        """What ``read`` is told of the main stream's schema: as planned, grown by what was agreed on since."""

    @property
    def replay(self) -> str:
        """``position``, ``redelivery`` or ``none``; undeclared: ``position``, if ``read`` asks for it."""
        declared = self.component.spec.get("replay")
        return str(declared) if declared else ("position" if "position" in self.operation("read").names else "none")

    def discover(self) -> list[Stream]:
        """The streams that could be read, if the source can tell."""
        return self._listed(self.invoke("discover")) if self.has("discover") else []

    def plan(self) -> dict[str, Schema] | None:
        """Stream → schema, if the component, its annotation or ``rows=`` tells; else None."""
        told = self.invoke("plan") if self.has("plan") else None
        if told is None:
            told = self.component.spec.get("rows")
        found = schemas_by_name(told, "") if told is not None else self._annotated()
        self.schemas = found or {}
        return found

    def _annotated(self) -> dict[str, Schema] | None:
        schema = schema_of_rows(element_type(self.operation("read").annotation("return")))
        return None if schema is None else {"": schema}

    def splits(self, position: Json, finished: frozenset[str]) -> Generator[tuple[list[Split], Json]]:
        """Rounds of new splits with the discovery position after each; a plain iterable is one round, position None."""
        if not self.has("splits"):
            yield [Split("all")], None
            return
        given = {} if position is None else {"position": position}
        result = self.invoke("splits", finished=finished, **given)
        plain: list[Split] = []
        for item in self.items(result if result is not None else ()):
            if isinstance(item, Split):
                plain.append(self._split(item))
            elif isinstance(item, tuple) and len(item) == 2 and not isinstance(item[0], Split):
                yield [self._split(split) for split in item[0]], JsonType(None, "position").dump(item[1])
            else:
                raise _not_splits(item)
        if plain:
            yield _distinct(plain), None

    def divide(self, split: Split, position: Json | NoPosition) -> list[Split]:
        """Children that take over the rest of a split, or nothing."""
        if not self.has("divide"):
            return []
        children = self._listed(self.invoke("divide", split=split, **self._at(position)))
        return _distinct([self._split(child) for child in children])

    def migrate_positions(self, version: int, olds: list[Json]) -> list[Json]:
        """An older version's positions in today's form, as JSON, in their order."""
        return self.position.dump_all(self.component.migrate_positions(version, olds))

    def read(
        self, split: Split, position: Json | NoPosition, demand: Demand, columns: frozenset[str] | None
    ) -> Iterator[Reading]:
        """The steps of one split from ``position`` on; ends when the split ends. ``demand`` is live.

        Closing the iterator raises GeneratorExit at the author's yield. A Retry raised by the author ends the iterator
        with that exception: the engine calls ``read`` again from the last position.
        """
        readings = self._readings(split, position, demand, columns)
        self._being_read.add(readings)
        return readings

    def _readings(
        self, split: Split, position: Json | NoPosition, demand: Demand, columns: frozenset[str] | None
    ) -> Generator[Reading]:
        given = {"split": split, "demand": demand, "columns": columns, "schema": self.agreed}
        result = self.start("read", **given, **self._at(position))
        refused: list[Refused] = []
        for item in self._given(result, demand):
            if isinstance(item, Refused):
                refused.append(replace(item, raw=item.raw[:RAW_LIMIT]))
                continue
            reading = self._reading(item, split)
            reading.refused, refused = refused, []
            yield reading
        if refused:
            yield Reading(None, idle=True, after=0.0, refused=refused)

    def _end_readings(self) -> None:
        for readings in list(self._being_read):
            readings.close()

    def acknowledge(self, split: Split, position: Json) -> None:
        """Call ``acknowledge`` (an async one may run while a ``read`` waits)."""
        if not self.has("acknowledge"):
            return
        result = self.start("acknowledge", split=split, **self._at(position))
        if self.operation("acknowledge").is_async:
            self.loop.beside(result)
        else:
            self.settled(result)

    def _at(self, position: Json | NoPosition) -> dict[str, Any]:
        if position is None or isinstance(position, NoPosition):
            return {}
        return {"position": self.position.load(position)}

    def _given(self, result: Any, demand: Demand) -> Iterator[Any]:
        if hasattr(result, "__anext__"):
            yield from self._awaited(result, demand)
            return
        result = self.settled(result)
        if hasattr(result, "__next__"):
            yield from self.items(result)
        elif result is not None:
            yield result

    def _awaited(self, result: Any, demand: Demand) -> Iterator[Any]:
        """Items of an async generator; while it waits for something past ``demand.until`` the source is idle."""
        task = None
        try:
            while True:
                task = task or self.loop.start(result.__anext__())
                if not self.loop.wait(task, max(0.0, demand.until - time.monotonic())):
                    yield Idle()
                    continue
                done, task = task, None
                try:
                    item = done.result()
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if task is not None:
                task.cancel()
                self.loop.wait(task, 60.0)
            if hasattr(result, "aclose"):
                self.loop.run(result.aclose())

    def _reading(self, item: Any, split: Split) -> Reading:
        if isinstance(item, Idle):
            return Reading(None, self._position(item.position), idle=True, after=item.after)
        position: Json | NoPosition = NO_POSITION
        if isinstance(item, tuple):
            if len(item) != 2 or isinstance(item[0], (tuple, Idle, Refused)):
                raise _wrong_yield(item)
            item, position = item[0], self._position(item[1])
        stream = ""
        if isinstance(item, Out):
            stream, item = item.name, item.rows
        batch = self._batch(item, stream)
        if not len(batch):
            return Reading(None, position, stream, idle=True, after=0.0)
        envelope = Envelope(
            stream=stream,
            split=split.id,
            position=None if isinstance(position, NoPosition) else position,
            ingested=datetime.now(UTC),
        )
        return Reading(Batch(batch.arrow, envelope), position, stream)

    def _position(self, given: Any) -> Json | NoPosition:
        return NO_POSITION if given is None else self.position.dump(given)

    def _batch(self, rows: Any, stream: str) -> Batch:
        if _is_no_rows(rows):
            raise _wrong_yield(rows)
        try:
            return fit_read(rows, self.schemas.get(stream))
        except ConfigError as error:
            if error.code == "batch.rows":
                raise _wrong_yield(rows) from error
            raise

    def _split(self, given: Any) -> Split:
        if not isinstance(given, Split):
            raise _not_splits(given)
        if not given.id or not isinstance(given.id, str):
            raise ConfigError.of("source.splits", f"a split needs a text as id, not {given.id!r}")
        return replace(
            given,
            data=JsonType(None, "split").dump(given.data),
            start=self.position.dump(given.start),
            after=tuple(given.after),
        )


def _is_no_rows(rows: Any) -> TypeGuard[None]:
    return rows is None or isinstance(rows, (str, bytes, int, float, tuple))


def _wrong_yield(item: Any) -> ConfigError:
    text = repr(item)
    return ConfigError.of(
        "source.yield",
        f"a source cannot give {text if len(text) <= 120 else text[:120] + '…'}",
        cause=f"its type is {type(item).__name__}",
        fix=_ALLOWED,
    )


def _not_splits(item: Any) -> ConfigError:
    return ConfigError.of(
        "source.splits",
        f"`splits` gave {item!r}",
        fix="give Split objects, or rounds as (list of splits, discovery position)",
    )


def _distinct(splits: list[Split]) -> list[Split]:
    seen: set[str] = set()
    for split in splits:
        if split.id in seen:
            raise ConfigError.of(
                "source.splits", f"two splits have the id `{split.id}`", fix="name the thing read, each once"
            )
        seen.add(split.id)
    return splits
