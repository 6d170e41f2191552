"""Named places where a test lets the process die: ``DATAFLARE_CRASH=NAME[:N]`` kills it at the N-th pass (SIGKILL).

Engines, stores and sinks place them where a death would matter; authors may do so in their own connectors.
"""

from __future__ import annotations

import os
import signal
import threading

_NAME, _, _PASS = os.environ.get("DATAFLARE_CRASH", "").partition(":")
_left = int(_PASS or 1)
_lock = threading.Lock()


def point(name: str) -> None:
    """Die here if this is the place and the pass that the environment names; else do nothing."""
    global _left
    if name != _NAME:
        return
    with _lock:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
