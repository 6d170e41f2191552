"""Keyed state on its way to a newer version of its component, while the older one goes on changing it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dataflare.checkpoint import StateChange
from dataflare.drive import ProcessorDriver
from dataflare_pipeline import migrate
from dataflare_pipeline.keyed import KEY_SCHEMA, TIMERS, KeyedState, Value, group_of, json_of

ROUNDS = 5
FEW = 1_000
"""Keys that may be left for the barrier."""


class Handing:
    """The state of one lane in the form of a newer version.

    Made while the older one goes on: all keys, then again those that changed meanwhile, until few are left for the
    barrier. ``driver`` migrates; it is an instance of the newer version.
    """

    def __init__(self, old: KeyedState, driver: ProcessorDriver, held: int, now: int) -> None:
        self._old = old
        self._driver = driver
        self._versions = held, now
        self._values: dict[str, dict[bytes, Value]] = {}
        self._made: dict[str, dict[bytes, StateChange]] = {}

    def prepare(self) -> None:
        """Take over what can be taken over beforehand. Raises StateError ``state.version``, ``state.migration``."""
        self._old.watch()
        for name in self._names():
            self._all(name)
            for _ in range(ROUNDS):
                changed = self._old.touched(name)
                self._again(name, changed)
                if len(changed) <= FEW:
                    break

    def finish(self, new: KeyedState) -> None:
        """Give everything to the newer version's state. In the lane's thread, at the barrier."""
        for name in self._names():
            if name in self._values:
                self._again(name, self._old.touched(name))
            else:
                self._all(name)
            new.adopt(name, self._values[name], list(self._made[name].values()))
        self._old.unwatch()

    def drop(self) -> None:
        """It does not come to that."""
        self._old.unwatch()

    def value(self, name: str, key: bytes) -> Value | None:
        """A value in the newer form, as far as it is taken over."""
        return self._values[name].get(key) if name in self._values else self._old.value(name, key)

    def _names(self) -> list[str]:
        return [name for name in self._old.names() if name not in (TIMERS, KEY_SCHEMA)]

    def _all(self, name: str) -> None:
        self._values[name], self._made[name] = {}, {}
        self._again(name, self._old.keys(name))

    def _again(self, name: str, keys: Iterable[bytes]) -> None:
        values, made, step = self._values[name], self._made[name], self._old.step
        rows = self._rows(name, keys)
        for key, data, expires in migrate.values(self._driver, step, name.partition("/")[0], rows, *self._versions):
            values[key] = json.loads(data), expires
            made[key] = StateChange(step, name, group_of(key), key, data, expires)

    def _rows(self, name: str, keys: Iterable[bytes]) -> Iterator[migrate.Row]:
        for key in keys:
            found = self._old.value(name, key)
            if found is not None:
                yield key, json_of(found[0]), found[1]
            elif self._values[name].pop(key, None) is not None:
                del self._made[name][key]


class Borrowed(KeyedState):
    """A state to try a component on: it reads the keys of a running lane, and keeps what it writes to itself."""

    def __init__(self, old: KeyedState, handing: Handing | None) -> None:
        super().__init__(old.step, old._now)
        self._old = old
        self._from = old if handing is None else handing

    def get(self, name: str, keys: Sequence[bytes]) -> list[Any]:
        self._borrow(name, keys)
        return super().get(name, keys)

    def items(self, name: str) -> dict[bytes, Any]:
        self._borrow(name, self._old.keys(name))
        return super().items(name)

    def _borrow(self, name: str, keys: Iterable[bytes]) -> None:
        held = self._values.setdefault(name, {})
        for key in keys:
            if key not in held and (found := self._from.value(name, key)) is not None:
                held[key] = json.loads(json_of(found[0])), found[1]
