"""The DataFlare host: everything that moves data is a plugin; this finds, checks and starts them.

What stands here is the host's public API for bundles and programs; each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflare_host.app import Host as Host
    from dataflare_host.events import Record as Record
    from dataflare_host.host import Event as Event
    from dataflare_host.host import FlowStatus as FlowStatus
    from dataflare_host.host import HostApi as HostApi
    from dataflare_host.host import Principal as Principal
    from dataflare_host.kinds import Budget as Budget
    from dataflare_host.kinds import Engine as Engine
    from dataflare_host.kinds import Exchange as Exchange
    from dataflare_host.kinds import FlowHead as FlowHead
    from dataflare_host.kinds import Link as Link
    from dataflare_host.kinds import Loader as Loader
    from dataflare_host.kinds import Mode as Mode
    from dataflare_host.kinds import Outcome as Outcome
    from dataflare_host.kinds import Planner as Planner
    from dataflare_host.kinds import Runner as Runner
    from dataflare_host.kinds import Service as Service
    from dataflare_host.layout import Layout as Layout
    from dataflare_host.layout import Part as Part
    from dataflare_host.layout import Region as Region
    from dataflare_host.layout import layout_of as layout_of
    from dataflare_host.manifest import Manifest as Manifest
    from dataflare_host.plan import Edge as Edge
    from dataflare_host.plan import Guarantee as Guarantee
    from dataflare_host.plan import Plan as Plan
    from dataflare_host.plan import StepPlan as StepPlan

_HOME = {
    "app": "Host",
    "events": "Record",
    "host": "Event FlowStatus HostApi Principal",
    "kinds": "Budget Engine Exchange FlowHead Link Loader Mode Outcome Planner Runner Service",
    "layout": "Layout Part Region layout_of",
    "manifest": "Manifest",
    "plan": "Edge Guarantee Plan StepPlan",
}
_MODULE = {name: module for module, names in _HOME.items() for name in names.split()}
__all__ = sorted(_MODULE)


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
