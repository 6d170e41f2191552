"""Keyed state of one lane: in memory, with the keys that each epoch changed.

Writes of a call are kept aside until the call returned (``apply``) or failed (``discard``), so a fresh
instance may retry the batch. Expiry follows the ingest time of batches, never the wall clock, so that the
same batches give the same answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import xxhash

from dataflare.checkpoint import StateChange
from dataflare.memory import sliced
from dataflare_host.layout import KEY_GROUPS

_encode = json.JSONEncoder(separators=(",", ":")).encode
TIMERS = "#timers"
KEY_SCHEMA = "#key-schema"
Json = Any
Value = tuple[Json, float | None]
Follower = Callable[[str, Iterable[bytes]], None]
"""Is told the name of a state and the keys that changed."""


def json_of(value: Json) -> bytes:
    """Canonical JSON; the short way for what dedupe and counters keep, of which an epoch may change a million."""
    if value is True:
        return b"true"
    if type(value) is int:
        return b"%d" % value
    return _encode(value).encode()


def group_of(key: bytes) -> int:
    """The key group: xxh64 of the canonical key bytes, modulo 256; fixed for ever."""
    return xxhash.xxh64_intdigest(key) % KEY_GROUPS


def lane_of(group: int, lanes: int) -> int:
    """The lane that owns a key group: ranges of groups, so that rescaling moves few."""
    return group * lanes // KEY_GROUPS


class KeyedState:
    """The state of the keys that one lane owns (a ``StateBackend``)."""

    def __init__(self, step: str, now: Callable[[], datetime]) -> None:
        self.step = step
        self._now = now
        self._values: dict[str, dict[bytes, Value]] = {}
        self._pending: dict[str, dict[bytes, Value | None]] = {}
        self._dirty: dict[str, set[bytes]] = {}
        self._mortal: set[str] = set()
        """States with keys that expire: the others need no look at every key."""
        self._before: dict[str, dict[bytes, Value | None]] | None = None
        """Since ``note``: what was there before a key's first change; None: it was not there."""
        self._touched: dict[str, set[bytes]] | None = None
        """Since ``watch``: the keys that changed."""
        self._follower: Follower | None = None
        """Since ``follow``: who is told of them instead."""
        self._made: dict[str, dict[bytes, StateChange]] = {}
        """Changes in their final form that the next epoch takes, where the key has not changed again."""

    def load(self, name: str, rows: Iterable[tuple[bytes, bytes, float | None]], *, changed: bool = False) -> None:
        """Take over what the store holds; ``changed``: in a new form, which the next epoch keeps."""
        held = self._values[name] = {key: (json.loads(value), expires) for key, value, expires in rows}
        if any(expires is not None for _, expires in held.values()):
            self._mortal.add(name)
        if changed:
            self._dirty.setdefault(name, set()).update(held)

    def get(self, name: str, keys: Sequence[bytes]) -> list[Json | None]:
        """The values, in the order of the keys; None for unknown and expired ones."""
        now = self._now().timestamp()
        held, pending = self._values.get(name, {}), self._pending.get(name, {})
        found: list[Json | None] = []
        for key in keys:
            value = pending[key] if key in pending else held.get(key)
            found.append(None if value is None or (value[1] is not None and value[1] <= now) else value[0])
        return found

    def put(self, name: str, keys: Sequence[bytes], values: Sequence[Json | None], ttl: float | None) -> None:
        """New values, kept aside until the call returns."""
        expires = None if ttl is None else self._now().timestamp() + ttl
        if ttl is not None:
            self._mortal.add(name)
        pending = self._pending.setdefault(name, {})
        for key, value in zip(keys, values, strict=True):
            pending[key] = None if value is None else (value, expires)

    def apply(self) -> None:
        """The call returned: its writes count."""
        for name, pending in self._pending.items():
            held = self._values.setdefault(name, {})
            self._dirty.setdefault(name, set()).update(pending)
            self._note(name, held, pending)
            for key, value in pending.items():
                if value is None:
                    held.pop(key, None)
                else:
                    held[key] = value
            self._touch(name, pending)  # after the change: whoever takes a key from here finds its new value
        self._pending.clear()

    def discard(self) -> None:
        """The call failed: nothing was written."""
        self._pending.clear()

    def expire(self) -> None:
        """Forget keys whose time is over; the store learns of it with the epoch's changes."""
        now = self._now().timestamp()
        for name in self._mortal:
            held = self._values.get(name, {})
            gone = [key for key, (_, expires) in held.items() if expires is not None and expires <= now]
            self._note(name, held, gone)
            for key in gone:
                del held[key]
            self._dirty.setdefault(name, set()).update(gone)
            self._touch(name, gone)

    def changes(self) -> list[StateChange]:
        """What changed since the last call of this method."""
        self.expire()
        made: list[StateChange] = []
        for name, taken in self._made.items():
            for key in self._dirty.get(name, ()):
                taken.pop(key, None)
            made += taken.values()
        self._made = {}
        for name, dirty in self._dirty.items():
            held = self._values.get(name, {})
            for key in dirty:
                value, expires = held.get(key, (None, None))
                data = None if key not in held else json_of(value)
                made.append(StateChange(self.step, name, group_of(key), key, data, expires))
        self._dirty.clear()
        return made

    def items(self, name: str) -> dict[bytes, Json]:
        """All applied keys and values of a state that have not expired."""
        now = self._now().timestamp()
        held = self._values.get(name, {}).items()
        return {key: value for key, (value, expires) in held if expires is None or expires > now}

    def scan(self, name: str, most: int) -> Iterator[dict[bytes, Json]]:
        """The same in parts of at most so many keys."""
        return sliced(self.items(name), most)

    def names(self) -> list[str]:
        """The states that hold something."""
        return [name for name, held in list(self._values.items()) if held]

    # --- from one version of a component to the next -------------------------------------------------

    def note(self) -> None:
        """From now on keep what was there before, so that ``undo`` brings it back. Right behind ``changes``."""
        self._before = {}

    @property
    def noted(self) -> bool:
        """Is there something that ``undo`` goes back to?"""
        return self._before is not None

    @property
    def clean(self) -> bool:
        """Has nothing changed since ``changes``?"""
        return not self._pending and not any(self._dirty.values())

    def undo(self) -> None:
        """Everything as it was at ``note``."""
        for name, kept in (self._before or {}).items():
            held = self._values.setdefault(name, {})
            for key, value in kept.items():
                if value is None:
                    held.pop(key, None)
                else:
                    held[key] = value
        self.stay()
        self._pending.clear()
        self._dirty.clear()

    def stay(self) -> None:
        """What came since ``note`` stays: nothing is kept aside any more."""
        self._before = None

    def take(self, other: KeyedState, names: Iterable[str] | None = None) -> None:
        """Go on with the keys of another one (in ``names``), which gives them away: nothing is copied."""
        wanted = None if names is None else {*names, TIMERS, KEY_SCHEMA}
        self._values = {
            name: held for name, held in other._values.items() if wanted is None or name.partition("/")[0] in wanted
        }
        self._mortal = set(other._mortal)
        self._made = {name: made for name, made in other._made.items() if name in self._values}

    def adopt(self, name: str, values: dict[bytes, Value], made: dict[bytes, StateChange]) -> None:
        """Go on with these values; the next epoch keeps them, as ``made`` where they do not change again."""
        self._values[name], self._made[name] = values, made

    def set(self, name: str, key: bytes, value: Value | None) -> None:
        """What an epoch has made of a key; None: it is gone."""
        held = self._values.setdefault(name, {})
        if value is None:
            held.pop(key, None)
            self._made.get(name, {}).pop(key, None)
            return
        held[key] = value
        if value[1] is not None:
            self._mortal.add(name)

    def keep(self, name: str, changes: Iterable[StateChange]) -> None:
        """These keys are in a new form, which the next epoch keeps where they do not change again."""
        self._made.setdefault(name, {}).update((change.key, change) for change in changes)

    def renew(self) -> None:
        """Everything is in a new form, which the next epoch keeps."""
        for name, held in self._values.items():
            if name not in (TIMERS, KEY_SCHEMA) and name not in self._made:
                self._dirty.setdefault(name, set()).update(held)

    def empty(self) -> None:
        """Nobody goes on with these keys: free them one by one. From any thread."""
        for held in self._values.values():
            while held:
                held.popitem()

    def watch(self) -> None:
        """From now on tell by ``touched`` which keys changed."""
        self._touched = {}

    def follow(self, follower: Follower) -> None:
        """From now on tell it instead, in the thread that changes them. From any thread."""
        self._follower = follower

    def unwatch(self) -> None:
        """Nobody is told any more."""
        self._touched = self._follower = None

    def keys(self, name: str) -> list[bytes]:
        """The keys of a state. From any thread."""
        return list(self._values.get(name, ()))

    def touched(self, name: str) -> list[bytes]:
        """The keys that changed since this was last asked, with their changes made. From any thread."""
        found, taken = (self._touched or {}).get(name), []
        while found:
            taken.append(found.pop())
        return taken

    def value(self, name: str, key: bytes) -> Value | None:
        """A value and when it expires. From any thread."""
        return self._values.get(name, {}).get(key)

    def _touch(self, name: str, keys: Iterable[bytes]) -> None:
        if (follower := self._follower) is not None:
            follower(name, keys)
        elif (touched := self._touched) is not None:
            touched.setdefault(name, set()).update(keys)

    def _note(self, name: str, held: Mapping[bytes, Value], keys: Iterable[bytes]) -> None:
        if self._before is not None:
            kept = self._before.setdefault(name, {})
            for key in keys:
                if key not in kept:
                    kept[key] = held.get(key)
