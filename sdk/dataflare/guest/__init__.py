"""A plugin as a guest: its components called by frames, from another process or from inside a sandbox.

``docs/guest-protocol.md`` has the protocol. This package is its side in Python: ``frames`` packs and reads frames,
``Guest`` answers them, ``remote`` is what a component finds in its Context there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflare.guest.frames import Frame as Frame
    from dataflare.guest.serving import Guest as Guest

__all__ = ["MEMORY_EXIT", "MINORS", "PROTOCOL", "Frame", "Guest"]

PROTOCOL = 1
"""The number of the protocol that is spoken here."""
MINORS = ("1.0", "1.1")
"""The versions of the plugin contract that are spoken here, the newest last."""
MEMORY_EXIT = 90
"""The exit status of a guest's process that had no memory left."""
_MODULE = {"Frame": "frames", "Guest": "serving"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULE[name]}"), name)
