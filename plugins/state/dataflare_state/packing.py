"""Checkpoints as text with digests; large snapshots apart, so that an unchanged one is written once."""

from __future__ import annotations

import hashlib
import json

from dataflare.checkpoint import Checkpoint
from dataflare_state import problems

LARGE = 4096
"""Snapshots of at least this many characters stand apart."""
APART = "sha256:"
"""What stands for a snapshot that stands apart; no base64 text has a colon."""


def text(checkpoint: Checkpoint) -> tuple[str, dict[str, str]]:
    """The checkpoint as JSON, and its large snapshots by digest."""
    value, apart = checkpoint.as_json(), {}
    for lanes in value["snapshots"].values():
        for lane, data in lanes.items():
            if len(data) >= LARGE:
                apart[digest_of(data)] = data
                lanes[lane] = digest_of(data)
    return json.dumps(value, separators=(",", ":")), apart


def checkpoint(body: str, apart: dict[str, str]) -> Checkpoint | None:
    """The checkpoint that ``text`` wrote; None if a snapshot is missing. Raises ValueError for a newer format."""
    value = json.loads(body)
    for lanes in value.get("snapshots", {}).values():
        for lane, data in lanes.items():
            if data.startswith(APART):
                if data not in apart:
                    return None
                lanes[lane] = apart[data]
    return Checkpoint.from_json(value)


def unsealed(of: tuple[str, str, int], body: str, seal: str, apart: dict[str, str]) -> tuple[Checkpoint | None, str]:
    """The checkpoint of (flow, region, epoch) as it is kept, or None and what is damaged of it.

    Raises StateError for a newer format.
    """
    flow, _, epoch = of
    if digest(*of, body) != seal:
        return None, f"the checkpoint of epoch {epoch}"
    if any(digest_of(data) != told for told, data in apart.items()):
        return None, f"a snapshot of epoch {epoch}"
    try:
        found = checkpoint(body, apart)
    except ValueError as error:
        raise problems.newer_checkpoint(flow, error) from error
    return found, "" if found else f"a snapshot of epoch {epoch} is missing"


def digest(flow: str, region: str, epoch: int, body: str) -> str:
    """What proves that this text is the checkpoint of that epoch."""
    return digest_of("\0".join((flow, region, str(epoch), body)))


def digest_of(content: str) -> str:
    """The digest of a text."""
    return APART + hashlib.sha256(content.encode()).hexdigest()
