"""Keyed state on its way to a newer version of its component, while the older one goes on changing it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from dataflare.checkpoint import StateChange
from dataflare.drive import ProcessorDriver
from dataflare_pipeline import migrate
from dataflare_pipeline.keyed import KEY_SCHEMA, TIMERS, KeyedState, Value, group_of, json_of
from dataflare_pipeline.patiently import patiently
from dataflare_pipeline.uncollected import show_young

SLICE = 500
"""Keys that are taken over at once: so long may one lock keep a lane waiting."""


class Handing:
    """The state of one lane in the form of a newer version.

    Made while the older one goes on: first all keys, then those that changed meanwhile. What changes from then on the
    lane takes over itself behind each of its calls, so that nothing is left for the barrier, however fast keys change.
    ``driver`` migrates; it is an instance of the newer version. ``patience``: seconds that it may take for a slice.
    """

    def __init__(self, old: KeyedState, driver: ProcessorDriver, held: int, now: int, patience: float) -> None:
        self._old = old
        self._driver = driver
        self._versions = held, now
        self._patience = patience
        self._values: dict[str, dict[bytes, Value]] = {}
        self._made: dict[str, dict[bytes, StateChange]] = {}
        self._lock = threading.Lock()
        self._failure: Exception | None = None

    def prepare(self) -> None:
        """Take over what is there. Raises StateError ``state.version``, ``state.migration``."""
        self._old.watch()
        for name in self._names():
            self._take(name, self._old.keys(name))
        self._old.follow(self._changed)
        for name in self._names():
            self._take(name, self._old.touched(name))
        self.check()

    def check(self) -> None:
        """Raise what the lane could not take over."""
        if self._failure is not None:
            raise self._failure

    def finish(self, new: KeyedState) -> None:
        """Give everything to the newer version's state. In the lane's thread, at the barrier."""
        self.check()
        for name in self._names():
            self._take(name, self._old.touched(name))  # of a call that had just begun when the lane began to follow
            new.adopt(name, self._values.pop(name, {}), self._made.pop(name, {}))
        self._old.unwatch()

    def forget(self) -> None:
        """The newer version stays: free the older form, little by little, since all at once keeps everybody waiting."""
        self._old.empty()

    def drop(self) -> None:
        """It does not come to that."""
        self._old.unwatch()

    def value(self, name: str, key: bytes) -> Value | None:
        """A value in the newer form, as far as it is taken over."""
        return self._values[name].get(key) if name in self._values else self._old.value(name, key)

    def _names(self) -> list[str]:
        return [name for name in self._old.names() if name not in (TIMERS, KEY_SCHEMA)]

    def _changed(self, name: str, keys: Iterable[bytes]) -> None:
        """What the older version has just changed, in its lane's thread: it is not to fail for the newer one."""
        if self._failure is None and name not in (TIMERS, KEY_SCHEMA):
            try:
                self._take(name, keys)
            except Exception as error:
                self._failure = error

    def _take(self, name: str, keys: Iterable[bytes]) -> None:
        step, state = self._old.step, name.partition("/")[0]
        wanted = list(keys)
        for first in range(0, len(wanted), SLICE):
            found = {key: self._old.value(name, key) for key in wanted[first : first + SLICE]}
            rows = ((key, json_of(held[0]), held[1]) for key, held in found.items() if held is not None)
            with patiently(self._driver.component, step, self._patience):
                moved = {row[0]: row for row in migrate.values(self._driver, step, state, rows, *self._versions)}
            with self._lock:
                values, made = self._values.setdefault(name, {}), self._made.setdefault(name, {})
                for key, held in found.items():
                    if self._old.value(name, key) is not held:
                        continue  # it has changed again, and whoever changed it sees to it
                    if held is None:
                        values.pop(key, None)
                        made.pop(key, None)
                    else:
                        _, data, expires = moved[key]
                        values[key] = json.loads(data), expires
                        made[key] = StateChange(step, name, group_of(key), key, data, expires)
            if len(wanted) > SLICE:
                show_young()


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
