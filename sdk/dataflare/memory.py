"""Keyed state and timers in memory: for tests, dry runs and small engines."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from dataflare.context import Clock, FixedClock
from dataflare.split import Json

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.batch import Batch

Kept = tuple[Json, float | None]


class MemoryState:
    """A ``StateBackend``. Writes are kept aside until ``apply`` (the call returned) or ``discard`` (it failed).

    Values expire by ``clock``, in seconds since 1970, so that the same batches give the same answers.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or FixedClock()
        self._held: dict[str, dict[bytes, Kept]] = {}
        self._aside: dict[str, dict[bytes, Kept | None]] = {}

    def get(self, name: str, keys: Sequence[bytes]) -> list[Json | None]:
        """The values, in the order of the keys; writes of the running call are seen."""
        now = self.clock.now().timestamp()
        held, aside = self._held.get(name, {}), self._aside.get(name, {})
        found = (aside[key] if key in aside else held.get(key) for key in keys)
        return [None if kept is None or _over(kept, now) else kept[0] for kept in found]

    def put(self, name: str, keys: Sequence[bytes], values: Sequence[Json | None], ttl: float | None) -> None:
        """New values for keys; None: forget."""
        expires = None if ttl is None else self.clock.now().timestamp() + ttl
        aside = self._aside.setdefault(name, {})
        for key, value in zip(keys, values, strict=True):
            aside[key] = None if value is None else (value, expires)

    def apply(self) -> None:
        """The call returned: its writes count."""
        for name, aside in self._aside.items():
            held = self._held.setdefault(name, {})
            for key, kept in aside.items():
                if kept is None:
                    held.pop(key, None)
                else:
                    held[key] = kept
        self._aside.clear()

    def discard(self) -> None:
        """The call failed: nothing was written."""
        self._aside.clear()

    def items(self, name: str) -> dict[bytes, Json]:
        """The applied values that have not expired."""
        now = self.clock.now().timestamp()
        return {key: kept[0] for key, kept in self._held.get(name, {}).items() if not _over(kept, now)}

    def scan(self, name: str, most: int) -> Iterator[dict[bytes, Json]]:
        """The same in parts of at most so many keys."""
        return sliced(self.items(name), most)

    def names(self) -> list[str]:
        """The states that hold something."""
        return [name for name, held in self._held.items() if held]

    def dump(self) -> Json:
        """All applied values as JSON."""
        return {
            name: [[base64.b64encode(key).decode(), *kept] for key, kept in sorted(held.items())]
            for name, held in self._held.items()
        }

    def load(self, dumped: Json) -> None:
        """Take over what ``dump`` gave."""
        self._aside.clear()
        self._held = {
            name: {base64.b64decode(key): (value, expires) for key, value, expires in held}
            for name, held in dumped.items()
        }


def sliced(items: Mapping[bytes, Json], most: int) -> Iterator[dict[bytes, Json]]:
    """The items in parts of at most so many."""
    rest = iter(items.items())
    while part := dict(islice(rest, most)):
        yield part


class MemoryTimers:
    """``Timers`` of keys made of ``columns``; each key has at most one in event time and one in processing time."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._schema: pa.Schema | None = None
        self._held: dict[tuple[bool, bytes], float] = {}
        self._aside: dict[tuple[bool, bytes], float | None] = {}

    def set(self, keys: Batch, at: datetime | Sequence[datetime], *, event: bool = True) -> None:
        """Ask to be called for these keys at ``at``; a later set replaces."""
        encoded = self._encoded(keys)
        times = [at] * len(encoded) if isinstance(at, datetime) else list(at)
        for key, time in zip(encoded, times, strict=True):
            self._aside[event, key] = _utc(time).timestamp()

    def drop(self, keys: Batch) -> None:
        """Forget the timers of these keys."""
        for key in self._encoded(keys):
            self._aside[True, key] = self._aside[False, key] = None

    def take_due(self, until: datetime, *, event: bool = True) -> list[tuple[datetime, Batch]]:
        """The applied timers due until then, earliest first: (time, keys). They are gone with this call."""
        end = _utc(until).timestamp()
        due: dict[float, list[bytes]] = {}
        for (kind, key), stamp in sorted(self._held.items(), key=lambda item: item[1]):
            if kind == event and stamp <= end:
                due.setdefault(stamp, []).append(key)
                del self._held[kind, key]
        return [(datetime.fromtimestamp(stamp, UTC), self._rows(keys)) for stamp, keys in due.items()]

    def apply(self) -> None:
        """The call returned: its timers count."""
        for key, stamp in self._aside.items():
            if stamp is None:
                self._held.pop(key, None)
            else:
                self._held[key] = stamp
        self._aside.clear()

    def discard(self) -> None:
        """The call failed: it set no timers."""
        self._aside.clear()

    def dump(self) -> Json:
        """All applied timers as JSON."""
        known = self._schema if self._held else None
        schema = None if known is None else base64.b64encode(known.serialize().to_pybytes()).decode()
        timers = [[event, base64.b64encode(key).decode(), stamp] for (event, key), stamp in sorted(self._held.items())]
        return {"schema": schema, "timers": timers}

    def load(self, dumped: Json) -> None:
        """Take over what ``dump`` gave."""
        import pyarrow as pa

        self._aside.clear()
        self._schema = (
            None if dumped["schema"] is None else pa.ipc.read_schema(pa.py_buffer(base64.b64decode(dumped["schema"])))
        )
        self._held = {(event, base64.b64decode(key)): stamp for event, key, stamp in dumped["timers"]}

    def _encoded(self, keys: Batch) -> list[bytes]:
        from dataflare import keys as key_bytes

        self._schema = self._schema or keys.select(self._columns).schema
        encoded: list[bytes] = key_bytes.encode(keys, self._columns)
        return encoded

    def _rows(self, keys: list[bytes]) -> Any:
        from dataflare import keys as key_bytes
        from dataflare.batch import Batch

        return Batch(key_bytes.decode(keys, self._schema))


def _over(kept: Kept, now: float) -> bool:
    return kept[1] is not None and kept[1] <= now


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
