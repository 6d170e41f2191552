"""Timers by key of one lane, kept in its keyed state."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import UTC, datetime

from dataflare import keys as key_bytes
from dataflare.batch import Batch
from dataflare.errors import StateError
from dataflare_pipeline.keyed import KEY_SCHEMA, TIMERS, KeyedState


class KeyedTimers:
    """Timers by key (``dataflare.context.Timers``), kept as the state ``#timers``: so they are in the checkpoint."""

    def __init__(self, state: KeyedState, columns: tuple[str, ...]) -> None:
        self._state = state
        self._columns = columns
        self._due: dict[bool, list[tuple[float, bytes]]] = {True: [], False: []}

    def restore(self) -> None:
        """Rebuild the queue from the loaded state."""
        self._due = {True: [], False: []}
        for key, timers in self._state.items(TIMERS).items():
            for word, at in timers.items():
                heapq.heappush(self._due[word == "event"], (at, key))

    def take(self, other: KeyedTimers) -> None:
        """Go on with another one's queue, which gives it away."""
        self._due = other._due

    def set(self, keys: Batch, at: datetime | Sequence[datetime], *, event: bool = True) -> None:
        """Set (or move) the timers of these keys."""
        encoded = key_bytes.encode(keys, list(self._columns))
        times = [at] * len(encoded) if isinstance(at, datetime) else list(at)
        self._remember_schema(keys)
        word = "event" if event else "processing"
        changed = []
        for old, key, time in zip(self._state.get(TIMERS, encoded), encoded, times, strict=True):
            stamp = _aware(time).timestamp()
            changed.append({**(old or {}), word: stamp})
            heapq.heappush(self._due[event], (stamp, key))
        self._state.put(TIMERS, encoded, changed, None)

    def drop(self, keys: Batch) -> None:
        """Forget the timers of these keys."""
        encoded = key_bytes.encode(keys, list(self._columns))
        self._state.put(TIMERS, encoded, [None] * len(encoded), None)

    def next_processing(self) -> float | None:
        """When the next processing-time timer is due, in epoch seconds."""
        queue = self._due[False]
        return queue[0][0] if queue else None

    def take_due(self, until: float, event: bool) -> list[tuple[float, Batch]]:
        """The timers due until then, in the order of time: (time, keys). They are forgotten with the running call."""
        word = "event" if event else "processing"
        queue = self._due[event]
        ready: dict[float, list[bytes]] = {}
        while queue and queue[0][0] <= until:
            stamp, key = heapq.heappop(queue)
            timers = self._state.get(TIMERS, [key])[0] or {}
            if timers.get(word) != stamp:
                continue
            left = {name: at for name, at in timers.items() if name != word}
            self._state.put(TIMERS, [key], [left or None], None)
            ready.setdefault(stamp, []).append(key)
        return [(stamp, self._key_rows(found)) for stamp, found in sorted(ready.items())]

    def _remember_schema(self, keys: Batch) -> None:
        import base64

        held = self._state.get(KEY_SCHEMA, [b""])[0]
        if held is None:
            schema = keys.select(self._columns).schema
            text = base64.b64encode(schema.serialize().to_pybytes()).decode()
            self._state.put(KEY_SCHEMA, [b""], [text], None)

    def _key_rows(self, found: list[bytes]) -> Batch:
        import base64

        import pyarrow as pa

        text = self._state.get(KEY_SCHEMA, [b""])[0]
        if text is None:
            raise StateError.of("state.corrupt", f"timers of `{self._state.step}` have no key schema")
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
        return Batch(key_bytes.decode(found, schema))


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
