"""The store that lives in this process: for tests, notebooks and flows that may begin anew."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import ClassVar

from dataflare import field as option
from dataflare.checkpoint import Changes, Checkpoint, EpochInfo, LeaseInfo, Letter, LetterStatus, StateChange
from dataflare.context import Context
from dataflare.store import Store
from dataflare_state import problems, rules

Value = tuple[bytes, float | None]


@dataclass
class _Region:
    """What is kept of one region: checkpoints as JSON text, so that nobody's later change reaches them."""

    lease: LeaseInfo | None = None
    incarnation: str = ""
    epochs: dict[int, tuple[EpochInfo, str]] = field(default_factory=dict)
    states: dict[tuple[str, str], dict[bytes, Value]] = field(default_factory=dict)


@dataclass
class _Room:
    """One named memory; ``lock`` guards all of it."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    regions: dict[tuple[str, str], _Region] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    last_letter: int = 0

    def region(self, flow: str, region: str) -> _Region:
        return self.regions.setdefault((flow, region), _Region())

    def guarded(self, flow: str, region: str, fence: int) -> _Region:
        found = self.region(flow, region)
        newest = found.lease.token if found.lease else 0
        if fence != newest or not newest:
            raise problems.fenced(flow, region, fence, newest)
        return found


class Memory(Store, name="memory", durable=False, shared="process"):
    """Keeps state in this process only: it is gone when the process ends.

    Stores of the same ``name`` and flow folder share one memory, so a second runner in this process meets the
    first one's lease.
    """

    name: str = option(default="default", help="Stores of one name and folder share one memory.")

    _rooms: ClassVar[dict[tuple[str, str], _Room]] = {}
    _making: ClassVar[threading.Lock] = threading.Lock()
    _held: _Room

    def open(self, ctx: Context) -> None:
        """Find the memory of this name, or begin one."""
        with self._making:
            self._held = self._rooms.setdefault((self.name, str(ctx.base.absolute())), _Room())

    def lease_info(self, flow: str, region: str) -> LeaseInfo | None:
        """Who holds the region, or None."""
        with self._held.lock:
            found = self._held.regions.get((flow, region))
            return found.lease if found else None

    def lease(self, flow: str, region: str, owner: str, above: int) -> int:
        """Take the lease with the token ``above`` + 1."""
        with self._held.lock:
            found = self._held.region(flow, region)
            newest = found.lease.token if found.lease else 0
            if newest != above:
                raise problems.fenced(flow, region, above, newest)
            found.lease = LeaseInfo(above + 1, owner, 0)
            return above + 1

    def beat(self, flow: str, region: str, fence: int) -> None:
        """Move the heartbeat."""
        with self._held.lock:
            found = self._held.guarded(flow, region, fence)
            assert found.lease is not None
            found.lease = replace(found.lease, beat=found.lease.beat + 1)

    def release(self, flow: str, region: str, fence: int) -> None:
        """Give the lease back."""
        with self._held.lock:
            found = self._held.regions.get((flow, region))
            if found and found.lease and found.lease.token == fence:
                found.lease = replace(found.lease, released=True)

    def load(self, flow: str, region: str, epoch: int | None = None) -> Checkpoint | None:
        """The last committed epoch, or a kept older one."""
        with self._held.lock:
            found = self._held.regions.get((flow, region))
            if not found or not found.epochs:
                return None
            kept = found.epochs.get(max(found.epochs) if epoch is None else epoch)
        if kept is None:
            return None
        return replace(Checkpoint.from_json(json.loads(kept[1])), settled=kept[0].settled)

    def state(self, flow: str, region: str, step: str, name: str) -> Iterator[tuple[bytes, bytes, float | None]]:
        """All live keys of a state."""
        now = time.time()
        with self._held.lock:
            found = self._held.regions.get((flow, region))
            kept = dict(found.states.get((step, name), {})) if found else {}
        for key, (value, expires) in kept.items():
            if expires is None or expires > now:
                yield key, value, expires

    def states(self, flow: str, region: str) -> list[tuple[str, str]]:
        """The (step, name) pairs that keys were kept for."""
        with self._held.lock:
            found = self._held.regions.get((flow, region))
            return sorted(found.states) if found else []

    def commit(self, checkpoint: Checkpoint, changes: Changes, fence: int) -> None:
        """The commit point: all of it, or an error and none of it."""
        checkpoint = rules.dated(checkpoint)
        at, text = checkpoint.committed_at, json.dumps(checkpoint.as_json())
        with self._held.lock:
            found = self._held.guarded(checkpoint.flow, checkpoint.region, fence)
            rules.admit(checkpoint, found.incarnation if found.epochs else None, max(found.epochs, default=-1))
            found.incarnation = checkpoint.incarnation
            info = EpochInfo(checkpoint.epoch, at, checkpoint.settled, checkpoint.finished, len(text))
            found.epochs[checkpoint.epoch] = (info, text)
            self._apply(found, changes.state)
            self._file(checkpoint.flow, changes, at)

    def _apply(self, region: _Region, changed: list[StateChange]) -> None:
        for change in changed:
            keys = region.states.setdefault((change.step, change.name), {})
            if change.value is None:
                keys.pop(change.key, None)
            else:
                keys[change.key] = (change.value, change.expires)

    def _file(self, flow: str, changes: Changes, at: str) -> None:
        letters, done = self._held.letters, set(changes.replayed)
        if done:
            letters[:] = [
                replace(letter, status="replayed") if letter.id in done and letter.flow == flow else letter
                for letter in letters
            ]
        if gone := set(changes.forgotten):
            letters[:] = [letter for letter in letters if letter.flow != flow or letter.id not in gone]
        for letter in changes.letters:
            self._held.last_letter += 1
            letters.append(replace(letter, id=self._held.last_letter, at=letter.at or at))

    def settle(self, flow: str, region: str, epoch: int, fence: int) -> None:
        """All sinks have committed the epoch."""
        with self._held.lock:
            found = self._held.guarded(flow, region, fence)
            if epoch in found.epochs:
                info, text = found.epochs[epoch]
                found.epochs[epoch] = (replace(info, settled=True), text)

    def history(self, flow: str, region: str) -> list[EpochInfo]:
        """The kept epochs, newest first."""
        with self._held.lock:
            found = self._held.regions.get((flow, region))
            return [info for _, (info, _) in sorted(found.epochs.items(), reverse=True)] if found else []

    def prune(self, flow: str, region: str, keep: int) -> list[int]:
        """Forget all but the newest ``keep`` settled epochs and what is unsettled or last."""
        with self._held.lock:
            gone = rules.prunable(self.history(flow, region), keep)
            for epoch in gone:
                del self._held.regions[(flow, region)].epochs[epoch]
            return gone

    def flows(self) -> list[tuple[str, str]]:
        """The (flow, region) pairs known here."""
        with self._held.lock:
            return sorted(name for name, found in self._held.regions.items() if found.lease or found.epochs)

    def reset(self, flow: str, region: str, fence: int) -> None:
        """Forget what was kept, but not the lease's token."""
        with self._held.lock:
            found = self._held.guarded(flow, region, fence)
            self._held.regions[(flow, region)] = _Region(lease=found.lease)
            self._held.letters[:] = [
                letter
                for letter in self._held.letters
                if (letter.flow, letter.region, letter.status) != (flow, region, "waiting")
            ]

    def letters(
        self,
        flow: str,
        *,
        step: str | None = None,
        code: str | None = None,
        status: LetterStatus | None = "waiting",
        after: int = 0,
        limit: int | None = None,
    ) -> Iterator[Letter]:
        """Dead letters in the order of their ids."""
        with self._held.lock:
            kept = list(self._held.letters)
        chosen = (
            letter
            for letter in kept
            if letter.flow == flow
            and letter.id > after
            and step in (None, letter.step)
            and code in (None, letter.code)
            and status in (None, letter.status)
        )
        yield from islice(chosen, limit)

    def drop_letters(self, flow: str, ids: Iterable[int]) -> int:
        """Mark waiting letters dropped; how many were."""
        wanted = set(ids)
        with self._held.lock:
            chosen = [
                index
                for index, letter in enumerate(self._held.letters)
                if letter.id in wanted and letter.flow == flow and letter.status == "waiting"
            ]
            for index in chosen:
                self._held.letters[index] = replace(self._held.letters[index], status="dropped")
            return len(chosen)
