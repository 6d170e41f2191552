"""Drivers: the uniform face of a component towards whoever runs it.

The engine, a worker and the testing kit call a component only through its driver. A driver binds the
arguments each operation asks for by name, runs async operations on the lane's own loop, turns what the author
gives (rows, dicts, generators, ``Out``, Arrow objects) into Batches, positions and tokens into JSON and back,
and collects rejects. One driver = one instance = one lane: not thread-safe, but for ``acknowledge``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflare.drive.base import MAIN, NO_POSITION, Driver, NoPosition, Processed, Reading
from dataflare.drive.processor import ProcessorDriver
from dataflare.drive.sink import SinkDriver
from dataflare.drive.source import SourceDriver
from dataflare.drive.tool import ToolDriver
from dataflare.errors import ConfigError

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.context import Context

__all__ = [
    "MAIN",
    "NO_POSITION",
    "Driver",
    "NoPosition",
    "Processed",
    "ProcessorDriver",
    "Reading",
    "SinkDriver",
    "SourceDriver",
    "ToolDriver",
    "driver_for",
]

_DRIVERS: dict[str, type[Driver]] = {"source": SourceDriver, "processor": ProcessorDriver, "sink": SinkDriver}


def driver_for(component: Component, ctx: Context) -> Driver:
    """The driver of a component's kind; tools and every other kind with a ``call`` get a ToolDriver.

    Raises ConfigError (``step.not_driven``) for kinds that nobody calls through a driver.
    """
    driver = _DRIVERS.get(component.kind)
    if driver is None and hasattr(type(component), "call"):
        driver = ToolDriver
    if driver is None:
        raise ConfigError.of(
            "step.not_driven", f"a {component.kind or 'component'} is not a source, processor, sink or tool"
        )
    return driver(component, ctx)
