"""Numbers for letters that only grow, given out by ``link`` to any process."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from dataflare_state import records


class Numbers:
    """Ranges of numbers from 1 on, in a folder of claims.

    A claim is a file named by its first number. The next one starts where it ends, and counts only if, after its link,
    the claim below is still there: then nobody can have claimed and cleared away the same range in between.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self, count: int) -> int:
        """The first of ``count`` numbers that nobody else has or gets."""
        if not self.folder.is_dir():
            records.found(self.folder, _name(0), _claim(1))
        while True:
            taken = sorted(name for name in os.listdir(self.folder) if name.isdigit())
            if not taken:
                continue
            below = taken[-1]
            try:
                given = records.read_head(self.folder / below).given
                first = int(below) + int(given["count"])
                if not records.publish(self.folder, _name(first), _claim(count)):
                    continue
                if records.read_head(self.folder / below).given["nonce"] != given["nonce"]:
                    continue
            except FileNotFoundError:
                continue
            for older in taken[:-1]:
                (self.folder / older).unlink(missing_ok=True)
            return first


def _name(first: int) -> str:
    return f"{first:016d}"


def _claim(count: int) -> list[bytes]:
    return records.encode("claim", {"count": count, "nonce": uuid.uuid4().hex}, {})
