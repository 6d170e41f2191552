"""The host's side of the guest protocol: component classes whose operations are answered by a guest.

A loader brings a way to carry frames to one running guest (``Transport``); ``component_classes`` makes ordinary
components of what the guest says of itself. Engine, planner and testing kit drive them as they drive any other.
"""

from __future__ import annotations

from dataflare.hosting.classes import component_classes, release, retain, told_in, warm
from dataflare.hosting.limits import Limits
from dataflare.hosting.transport import GuestLost, Guests, Transport, lost

__all__ = [
    "GuestLost",
    "Guests",
    "Limits",
    "Transport",
    "component_classes",
    "lost",
    "release",
    "retain",
    "told_in",
    "warm",
]
