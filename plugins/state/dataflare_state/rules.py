"""The rules that every store keeps, whatever it keeps things in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from dataflare.checkpoint import Checkpoint, EpochInfo
from dataflare_state import problems


def admit(checkpoint: Checkpoint, incarnation: str | None, last: int) -> None:
    """Refuse a checkpoint that does not follow what is kept (``incarnation`` None: nothing is)."""
    if incarnation is not None and incarnation != checkpoint.incarnation:
        raise problems.other_incarnation(checkpoint, incarnation)
    if incarnation is not None and checkpoint.epoch <= last:
        raise problems.out_of_order(checkpoint, last)


def prunable(history: list[EpochInfo], keep: int) -> list[int]:
    """The epochs of a history (newest first) that pruning forgets, oldest first: never the last or an unsettled one."""
    settled = [info.epoch for info in history if info.settled]
    last = history[0].epoch if history else 0
    return sorted(epoch for epoch in settled[max(keep, 0) :] if epoch != last)


def now() -> str:
    """The time for ``committed_at`` and letters, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat()


def dated(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with the time of its commit on it."""
    return checkpoint if checkpoint.committed_at else replace(checkpoint, committed_at=now())
