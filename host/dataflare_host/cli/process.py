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
_words: list[str] = []
_is_ours = False


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


def go_on_in(python: Path) -> int:
    """Go on with this process's command line by another interpreter: in this very process, or below one that embeds us.

    Its exit code; where the command line is this process's own, it never returns, and signals reach the successor.
    """
    words = [str(python), "-P", "-m", "dataflare_host", *_words]
    if _is_ours:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(python, words)
    import subprocess

    return subprocess.run(words).returncode


def begin(words: list[str], *, ours: bool) -> None:
    """Note the command line that is run now; ``ours``: it is that of this process."""
    global _words, _is_ours
    _words, _is_ours = words, ours


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
