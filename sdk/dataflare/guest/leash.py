"""What ties a guest's process to its host: it ends with the host, and its memory is bounded."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading

_GRACE = 5.0
_PR_SET_PDEATHSIG = 1
_AHEAD = 64 << 20
"""Bytes that allocators reserve before anything is in them."""


class Leash:
    """Watches a pipe that nobody writes into: its end means that the host has gone.

    A guest whose host went without a word has a moment to close what is open; then it and all processes that it
    started, as far as they stayed in its group, are killed.
    """

    def __init__(self, control: int, parent: int) -> None:
        self._control = control
        self._gone = threading.Event()
        os.set_inheritable(control, False)
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            _end_group()
        threading.Thread(target=self._watch, name="dataflare-leash", daemon=True).start()

    def end(self) -> None:
        """The guest is done; whatever it left running goes with it if nobody else is there to end it."""
        if self._gone.is_set():
            _end_group()

    def _watch(self) -> None:
        while os.read(self._control, 1):
            pass
        self._gone.set()
        threading.Event().wait(_GRACE)
        _end_group()


def _end_group() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def bound_memory(most: int) -> None:
    """Let the process have this much memory beyond what it has now; then allocations fail."""
    if not hasattr(resource, "RLIMIT_DATA"):
        return
    held = 0
    try:
        with open("/proc/self/status") as status:
            held = next((int(line.split()[1]) << 10 for line in status if line.startswith("VmData:")), 0)
    except OSError:
        held = 128 << 20
    bound = held + most + _AHEAD
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
