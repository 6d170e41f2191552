"""The host of this process, which every command shares, and how it starts fast."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflare_host.app import Host


_set: Path | None = None


def use_set(file: Path | None) -> None:
    """From now on the host of this process has only the plugins that a set names; None: all that are installed."""
    global _set
    if file != _set:
        _set = file
        the_host.cache_clear()


@cache
def the_host() -> Host:
    """The host of this process, started at first use. Raises ConfigError ``set.…`` where a set was named."""
    from dataflare.errors import ConfigError
    from dataflare_host.app import Host

    named = None
    if _set is not None:
        from dataflare_host.sets import named_in

        named = named_in(_set)
    host = Host.start(named)
    with suppress(ConfigError):  # planning a flow of this folder says what is wrong with its set
        host.enter(Path.cwd())
    return host


@contextmanager
def starting() -> Iterator[None]:
    """No garbage collection in here: what is imported stays, and looking it through is a fifth of the start."""
    gc.disable()
    atexit.register(gc.unfreeze)  # what is frozen is never freed, and libraries complain of that at the end
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class Ending:
    """How the process ends: with ``code``, once that is set, as soon as all threads and exit handlers are done.

    The interpreter would then go through all its memory to free it piece by piece, for a tenth of a second.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._leave)  # what is registered first runs last

    def _leave(self) -> None:
        if self.code is not None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(self.code)
