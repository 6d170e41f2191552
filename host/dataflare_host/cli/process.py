"""The host of this process, which every command shares."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflare_host.app import Host


@cache
def the_host() -> Host:
    """The host of this process, started at first use."""
    from dataflare_host.app import Host

    return Host.start()
