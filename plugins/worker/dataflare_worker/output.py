"""What a guest prints: told to the step's log line by line, as much of it as a log can bear."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque

LONGEST = 4096
"""Bytes of a line that are kept."""
MOST = 500
"""Lines that are told within ``SPAN`` seconds; the others are counted."""
SPAN = 10.0
_KEPT = 20


class Output:
    """Reads a pipe to its end. ``last`` holds the lines before it."""

    def __init__(self, pipe: int, plugin: str) -> None:
        self.step = ""
        """The step whose instance was opened last; its log is told."""
        self._pipe = pipe
        self._plugin = plugin
        self._last: deque[str] = deque(maxlen=_KEPT)
        self._since = 0.0
        self._told = 0
        self._left_out = 0
        self._reader = threading.Thread(target=self._read, name=f"dataflare-output-{plugin}", daemon=True)
        self._reader.start()

    def last(self) -> str:
        """The last lines of a guest that has ended, as far as they came within a moment."""
        self._reader.join(0.5)
        return "\n".join(self._last)

    def _read(self) -> None:
        line, skipping = b"", False
        try:
            while more := os.read(self._pipe, 65536):
                *lines, rest = (line + more).split(b"\n")
                for each in lines:
                    if not skipping:
                        self._line(each)
                    skipping = False
                if len(rest) > LONGEST and not skipping:
                    self._line(rest)
                    skipping = True
                line = b"" if skipping else rest
            if line:
                self._line(line)
        finally:
            self._count()
            os.close(self._pipe)

    def _line(self, line: bytes) -> None:
        text = line[:LONGEST].decode("utf-8", "replace").rstrip()
        if len(line) > LONGEST:
            text += " …"
        self._last.append(text)
        now = time.monotonic()
        if now - self._since > SPAN:
            self._count()
            self._since, self._told = now, 0
        if self._told < MOST:
            self._told += 1
            self._log().info("%s: %s", self._plugin, text)
        else:
            self._left_out += 1

    def _count(self) -> None:
        if self._left_out:
            self._log().warning("%s: %d more lines were left out", self._plugin, self._left_out)
            self._left_out = 0

    def _log(self) -> logging.Logger:
        return logging.getLogger(f"dataflare.step.{self.step}" if self.step else "dataflare.step")
