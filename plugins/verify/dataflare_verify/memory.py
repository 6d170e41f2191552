"""How much memory the code under test holds: of its process, its sandbox, or of this process where it runs here."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """The memory of one open component."""

    def __init__(self, component: Any) -> None:
        self._component = component

    def now(self) -> int:
        """Bytes."""
        gc.collect()
        told = self._told()
        return resident("self") if told is None else told

    @property
    def own(self) -> bool:
        """Whether nobody else lives in it."""
        return self._told() is not None

    def _told(self) -> int | None:
        caller = getattr(vars(self._component).get("_remote"), "caller", None)
        told = None if caller is None else caller.memory
        return None if told is None else int(told)


def resident(process: int | str) -> int:
    """The bytes of a process that are in memory now, without what it shares with others."""
    size, shared = Path(f"/proc/{process}/statm").read_text().split()[1:3]
    return (int(size) - int(shared)) * PAGE
