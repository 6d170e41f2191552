"""Stores, which keep what flows commit, and the layers of bytes in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dataflare.checkpoint import Changes, Checkpoint, EpochInfo, LeaseInfo, Letter, LetterStatus
from dataflare.component import Component


class Store(Component, kind="store", abilities={"durable": True, "shared": "host"}):
    """Keeps leases, checkpoints, keyed state and dead letters of flows, by (flow, region).

    ``durable``: survives SIGKILL and power loss. ``shared``: who can reach it: ``process``, ``host`` or ``any``.
    Every write raises Fenced unless ``fence`` is the region's newest token. Thread-safe.
    """

    def open(self, *args: Any, **kwargs: Any) -> None:
        """``(ctx)``. Raises StateError (``state.locked``, ``state.corrupt``, ``state.unreadable``)."""

    def lease_info(self, flow: str, region: str) -> LeaseInfo | None:
        """Who holds the region, or None if nobody ever did."""
        raise NotImplementedError

    def lease(self, flow: str, region: str, owner: str, above: int) -> int:
        """Take the lease: ``above`` + 1, by compare-and-set. ``above`` is 0 where there was none yet.

        Raises Fenced if the newest token is not ``above``.
        """
        raise NotImplementedError

    def beat(self, flow: str, region: str, fence: int) -> None:
        """Move the heartbeat. Raises Fenced once a newer token exists."""
        raise NotImplementedError

    def release(self, flow: str, region: str, fence: int) -> None:
        """Give the lease back (marked released; the token stays the newest). Quiet if fenced."""
        raise NotImplementedError

    def load(self, flow: str, region: str, epoch: int | None = None) -> Checkpoint | None:
        """The last committed epoch (or a kept older one), or None. Needs no lease.

        Raises StateError ``state.corrupt`` that names the damage and the newest intact epoch.
        """
        raise NotImplementedError

    def state(self, flow: str, region: str, step: str, name: str) -> Iterator[tuple[bytes, bytes, float | None]]:
        """All live keys of a state: (key, value, expires)."""
        raise NotImplementedError

    def states(self, flow: str, region: str) -> list[tuple[str, str]]:
        """The (step, name) pairs that keys were kept for, in order; some may have no live key any more."""
        raise NotImplementedError

    def commit(self, checkpoint: Checkpoint, changes: Changes, fence: int) -> None:
        """The commit point: checkpoint and changes in one transaction, if ``fence`` is the newest token.

        The epoch must be above the last one of the same incarnation. Durable on return. Raises Fenced, StateError.
        """
        raise NotImplementedError

    def rewrite(self, flow: str, region: str, fence: int) -> bool:
        """Write everything of the region anew in today's form, as one more epoch; False where there is but one form.

        Older epochs are forgotten with it.
        """
        return False

    def settle(self, flow: str, region: str, epoch: int, fence: int) -> None:
        """All sinks have committed the epoch and its sources are told."""
        raise NotImplementedError

    def history(self, flow: str, region: str) -> list[EpochInfo]:
        """The kept epochs, newest first."""
        raise NotImplementedError

    def prune(self, flow: str, region: str, keep: int) -> list[int]:
        """Forget all but the newest ``keep`` settled epochs (the last one always stays); the epochs forgotten."""
        raise NotImplementedError

    def flows(self) -> list[tuple[str, str]]:
        """The (flow, region) pairs that have a checkpoint or a lease."""
        raise NotImplementedError

    def reset(self, flow: str, region: str, fence: int) -> None:
        """Forget checkpoints, keyed state and waiting letters of the region; the lease's token stays: it only grows."""
        raise NotImplementedError

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
        raise NotImplementedError

    def drop_letters(self, flow: str, ids: Iterable[int]) -> int:
        """Mark waiting letters dropped; how many were."""
        raise NotImplementedError


class Layer(Component, kind="layer"):
    """Changes the bytes that a store keeps: smaller, unreadable for others. Thread-safe.

    ``place`` says what the bytes are (flow, region, epoch and more): a layer that proves where content belongs binds
    it, so that a value brought to another place does not open.
    """

    def seal(self, data: bytes, place: bytes) -> bytes:
        """The bytes to keep."""
        raise NotImplementedError

    def unseal(self, data: bytes, place: bytes) -> bytes:
        """What ``seal`` was given. Raises StateError that names what is wrong: the key, or the content."""
        raise NotImplementedError

    def keys(self, data: bytes) -> list[str]:
        """The ids of the keys that are needed to unseal."""
        return []
