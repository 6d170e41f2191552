"""What was seen last of the indexes that a project trusts, without asking them: it acts where there is no network too.

Whatever is here was checked when it was read. It says less than the index does now, and nothing where the project was
never told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflare_index.catalogue import Listed

Json = Any
KEPT = Path(".dataflare", "index")
REVOKED = "revoked.json"
"""The file of an index that says which of its snapshots are not to be believed."""


@dataclass(frozen=True)
class Seen:
    """One index as it was seen last. ``kept``: the folder of what was seen of it."""

    kept: Path

    @classmethod
    def of(cls, project: Path, index: str) -> Seen:
        """What a project saw of one of its indexes."""
        return cls(project / KEPT / index)

    def plugin(self, name: str) -> Listed | None:
        """What it said of a plugin; None where that was never read."""
        try:
            return Listed.told(name, json.loads((self.kept / Listed.folder / f"{name}.json").read_bytes()))
        except (OSError, ValueError):
            return None

    def distrusts(self, snapshot: int) -> str:
        """Why nothing is to be believed that was locked from a snapshot; empty where nothing is known against it."""
        try:
            return reason_in(json.loads((self.kept / REVOKED).read_bytes()), snapshot)
        except (OSError, ValueError):
            return ""


def reason_in(told: Json, snapshot: int) -> str:
    """What the list of revoked snapshots has against one."""
    return next((str(each["reason"]) for each in told["snapshots"] if each["from"] <= snapshot <= each["to"]), "")
