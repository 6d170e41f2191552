"""Calling an author's function once for each distinct key of a batch, with the key's state."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataflare.batch import Batch, Rejected
from dataflare.drive.base import Processed
from dataflare.drive.collect import collect
from dataflare.errors import ConfigError, Reject
from dataflare.json_types import JsonType

if TYPE_CHECKING:
    from dataflare.drive.processor import ProcessorDriver

STATE = "state"
_FIXED = (bool, int, float, str, bytes, tuple, frozenset)


class KeyedCalls:
    """``each="key"``: ``key`` is the value of the key column (several: a dict), ``batch`` its rows in order, ``state``
    an object that the function changes in place."""

    def __init__(self, driver: ProcessorDriver) -> None:
        self._driver = driver
        operation = driver.operation("process")
        if not driver.columns:
            raise ConfigError.of(
                "step.by",
                f"`{driver.component.spec.name}` is called by key: say by=, the field that names the key columns",
            )
        self._kind = operation.annotation("state") if "state" in operation.names else None
        self._stateful = "state" in operation.names
        self._json = JsonType(None if _is_any(self._kind) else self._kind, "state")
        if self._stateful:
            self._check_kind()

    def process(self, batch: Batch, input: str) -> Processed:
        """All keys of a batch, in the order of their first rows."""
        items = self._items(batch, input)
        return collect(items, batch, self._driver.outputs)

    def _items(self, batch: Batch, input: str) -> Iterator[Any]:
        from dataflare import keys as key_bytes

        if not len(batch):
            return
        encoded = key_bytes.encode(batch, list(self._driver.columns))
        rows: dict[bytes, list[int]] = {}
        for index, key in enumerate(encoded):
            rows.setdefault(key, []).append(index)
        found = list(rows)
        held: list[Any] = self._backend().get(STATE, found) if self._stateful else [None] * len(found)
        states = []
        for key, value in zip(found, held, strict=True):
            part, state = batch.take(rows[key]), self._state(value)
            try:
                given = {**self._driver.given(part, input), "key": self._key(part), "state": state}
                yield from list(self._driver.results(self._driver.start("process", **given)))
            except Reject as reason:
                part.ledger.entries.append(Rejected(typing.cast(Any, part.origin), reason.code, reason.message))
                state = self._state(value)
            states.append(state)
        if self._stateful:
            self._backend().put(STATE, found, [self._json.dump(state) for state in states], None)

    def _key(self, part: Batch) -> Any:
        first = part.arrow.select(list(self._driver.columns)).slice(0, 1).to_pylist()[0]
        return first if len(first) > 1 else next(iter(first.values()))

    def _state(self, value: Any) -> Any:
        if not self._stateful:
            return None
        return self._new() if value is None else self._json.load(value)

    def _new(self) -> Any:
        make: Any = dict if _is_any(self._kind) else typing.get_origin(self._kind) or self._kind
        return make()

    def _backend(self) -> Any:
        backend = self._driver.ctx.state
        if backend is None:
            raise ConfigError.of(
                "state.unavailable", f"`{self._driver.component.spec.name}` keeps state, but there is no store"
            )
        return backend

    def _check_kind(self) -> None:
        kind = typing.get_origin(self._kind) or self._kind
        fixed = kind in _FIXED or (dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen)  # type: ignore[union-attr]
        if fixed:
            raise ConfigError.of(
                "step.state_type",
                f"`state: {getattr(kind, '__name__', kind)}` cannot be changed in place",
                fix="use a dataclass with defaults, a dict or a list; or a class with `State[...]` attributes",
            )
        try:
            self._new()
        except TypeError as error:
            raise ConfigError.of(
                "step.state_type",
                f"a first state cannot be made: {error}",
                fix="give every field of the state a default",
            ) from error


def _is_any(kind: Any) -> bool:
    return kind is None or kind is Any or typing.is_typeddict(kind)
