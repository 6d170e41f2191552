"""How late it is for who reads an index: the machine's clock, or the newest time that the index signed if later.

A clock that stands at 1970 takes nothing old for fresh. What was seen counts only under the root that it was seen
under: keys that were stolen cannot put the time forward for ever.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare_index.signing import SIGNED, put

if TYPE_CHECKING:
    from tuf.ngclient.updater import Updater

FILE = "time.json"


def now() -> datetime:
    """What the machine's clock says."""
    return datetime.now(UTC)


class Clock:
    """The time for one index; ``cache`` keeps what was seen."""

    def __init__(self, cache: Path) -> None:
        self._file = cache / FILE

    def set(self, updater: Updater) -> None:
        """Let TUF reckon with this time."""
        updater._trusted_set.reference_time = max([now(), *self._seen(updater._trusted_set.root.version)])

    def saw(self, updater: Updater) -> None:
        """Keep the time that the timestamp was signed at."""
        trusted = updater._trusted_set
        said = trusted.timestamp.unrecognized_fields.get(SIGNED)
        try:
            time = min(datetime.fromisoformat(str(said)), trusted.timestamp.expires)
        except (ValueError, TypeError):
            return
        seen = self._read()
        if seen.get("root") != trusted.root.version or time.isoformat() > seen.get("time", ""):
            put(self._file, json.dumps({"root": trusted.root.version, "time": time.isoformat()}).encode())

    def _seen(self, root: int) -> list[datetime]:
        seen = self._read()
        try:
            return [datetime.fromisoformat(seen["time"])] if seen["root"] == root else []
        except (KeyError, ValueError):
            return []

    def _read(self) -> dict[str, Any]:
        try:
            told = json.loads(self._file.read_bytes())
            return told if isinstance(told, dict) else {}
        except (OSError, ValueError):
            return {}
