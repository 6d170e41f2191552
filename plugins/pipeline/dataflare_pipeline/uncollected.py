"""Holds off Python's garbage collector while much state is made.

A whole collection stops every thread while it looks through all objects: 0.3 s where a million values were just made.
Plain values are nothing it has to look at again once it has seen them young, so they are shown to it in small portions.
"""

from __future__ import annotations

import gc
import threading
from typing import Any

PORTION = 1_000
_lock = threading.Lock()
_holders: set[int] = set()


def hold(owner: object) -> None:
    """No collection begins by itself until ``let_go``."""
    with _lock:
        if not _holders and not gc.isenabled():
            return  # somebody else's business
        _holders.add(id(owner))
        gc.disable()


def let_go(owner: object) -> None:
    """Collections begin by themselves again, once nobody holds them off. May be called again."""
    with _lock:
        if id(owner) in _holders:
            _holders.discard(id(owner))
            if not _holders:
                gc.enable()


def forget(listed: list[Any]) -> None:
    """Empty a list that may have a million entries, little by little: all at once keeps every thread waiting."""
    while listed:
        del listed[-PORTION:]


def show_young() -> None:
    """Show the collector what was made since the last time."""
    if not gc.isenabled():
        gc.collect(1)
