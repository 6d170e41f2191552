"""The host of this process, which every command shares, and how it starts fast."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflare_host.app import Host


@cache
def the_host() -> Host:
    """The host of this process, started at first use."""
    from dataflare_host.app import Host

    return Host.start()


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
