"""What a guest says, on its standard output and error and by ``log``: in lines, and not more than a log can bear."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

Telling = Callable[[str, str], None]
"""Takes a level's name and a line. Never raises."""
LINE = 4096
"""Characters of a line; the rest is cut off."""
BURST = 1000
"""Lines that may come at once …"""
RATE = 100
"""… and the lines a second that may come for ever."""
REMEMBERED = 6
"""Lines of a call's beginning, and of its end, that are remembered to tell why a guest ended."""
MESSAGE = 64
"""Lines that one message may have."""
_levels = logging.getLevelNamesMapping()


class Journal:
    """Lines of one guest. ``telling`` is where they go: to the log of the step that calls it, where there is one."""

    def __init__(self, plugin: str) -> None:
        self._log = logging.getLogger("dataflare.plugin." + plugin)
        self.telling: Telling = self._logged
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=REMEMBERED)
        self._open: dict[str, bytearray] = {}
        self._left = float(BURST)
        self._since = time.monotonic()
        self._dropped = 0

    def take(self, level: str, data: bytes) -> None:
        """Bytes of a stream; they need not end with a line."""
        line = self._open.setdefault(level, bytearray())
        *whole, rest = data.split(b"\n")
        for each in whole:
            self._tell(level, bytes(line + each[:LINE]).decode("utf-8", "replace"))
            line.clear()
        if len(line) < LINE:
            line += rest[:LINE]

    def tell(self, level: str, text: str) -> None:
        """A message, perhaps of several lines."""
        for line in text.splitlines()[:MESSAGE]:
            self._tell(level, line)

    def flush(self) -> None:
        """Tell what has no end of line yet, and how much was left out."""
        for level, line in self._open.items():
            if line:
                self._tell(level, bytes(line).decode("utf-8", "replace"))
                line.clear()
        if self._dropped and self.admits():
            self.telling("warning", f"{self._dropped:,} more lines were left out")
            self._dropped = 0

    def last(self) -> str:
        """What the guest said in the running call: the first lines and the last."""
        return "\n".join((*self._first, *self._last))

    def reset(self) -> None:
        """The call has ended: lines go to the plugin's own logger again."""
        self.flush()
        self._first.clear()
        self._last.clear()
        self.telling = self._logged

    def admits(self) -> bool:
        """May one more line be told now? Counts it."""
        now = time.monotonic()
        self._left = min(BURST, self._left + (now - self._since) * RATE)
        self._since = now
        if self._left < 1:
            self._dropped += 1
            return False
        self._left -= 1
        return True

    def _tell(self, level: str, line: str) -> None:
        line = line[:LINE].rstrip()
        if not line:
            return
        (self._first if len(self._first) < REMEMBERED else self._last).append(line)
        if self.admits():
            self.telling(level, line)

    def _logged(self, level: str, line: str) -> None:
        self._log.log(_levels.get(level.upper(), logging.INFO), "%s", line)
