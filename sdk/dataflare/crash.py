"""Named places where a test lets the process die, or freeze.

``DATAFLARE_CRASH=NAME[:N[:stop]]`` kills the process (SIGKILL) at its N-th pass of that place; with ``stop`` it is
frozen instead (SIGSTOP), to be woken up later. The name ``*`` counts the passes of all places together.
``DATAFLARE_CRASH_TRACE=FILE`` writes down each pass, one name a line, so a test need not know what a run goes through.

Engines, stores and sinks place them where a death would matter; authors may do so in their own connectors.
"""

from __future__ import annotations

import os
import signal
import threading

_NAME, _PASS, _HOW = [*os.environ.get("DATAFLARE_CRASH", "").split(":"), "", ""][:3]
_SIGNAL = signal.SIGSTOP if _HOW == "stop" else signal.SIGKILL
_TRACE = os.environ.get("DATAFLARE_CRASH_TRACE", "")
_left = int(_PASS or 1)
_lock = threading.Lock()


def point(name: str) -> None:
    """Die here if this is the place and the pass that the environment names; else do nothing."""
    if _NAME or _TRACE:
        _passed(name)


def _passed(name: str) -> None:
    global _left
    with _lock:
        if _TRACE:
            with open(_TRACE, "a", encoding="utf-8") as trace:
                trace.write(f"{name}\n")
        if _NAME in (name, "*"):
            _left -= 1
            if _left == 0:
                os.kill(os.getpid(), _SIGNAL)
