"""The hooks of the host, in the order of its life: the map of what a plugin can take part in.

A plugin names those it implements in its manifest (``[hooks] module = "acme.hooks"``, ``names = ["check_plan"]``); the
module is imported when the first of them is called. An implementation is a function ``dataflare_NAME`` that asks by
name for the arguments it wants. The order of plugins means nothing. A fault is caught, counted and recorded; where a
docstring says so, it refuses. Everything that can be configured, or stays up, is a component instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.errors import Problem
    from dataflare_host.events import Record
    from dataflare_host.host import Event, HostApi, Principal
    from dataflare_host.plan import Plan

PROJECT = "dataflare"
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec(historic=True)
def dataflare_host_started(host: HostApi) -> None:
    """The host is up, and nothing runs yet. A plugin that comes later, in a reload, is told then."""


@hookspec
def dataflare_components() -> Iterable[type[Component] | Any]:  # type: ignore[empty-body]
    """Give component classes and decorated functions beyond the manifest's table.

    Called once a generation, when the plugin's components are first needed. All plugins are asked. A fault: the
    plugin's components that the table does not name cannot be used.
    """


@hookspec
def dataflare_check_install(
    release: Mapping[str, Any], before: Mapping[str, Any] | None, grants: Mapping[str, Any], principal: Principal
) -> Iterable[Problem] | None:
    """Say why a plugin's release must not be installed: problems, or nothing.

    Called when its wheel is verified and before it is unpacked; ``before`` is the manifest of the installed release.
    All plugins are asked; any problem refuses, and so does a fault.
    """


@hookspec
def dataflare_check_plan(plan: Plan, principal: Principal) -> Iterable[Problem] | None:
    """Say why a plan must not run: problems, or nothing.

    Called after every planning, before anything starts. All plugins are asked; any problem refuses, and so does a
    fault. The plan is pure JSON: do not open connections here.
    """


@hookspec(firstresult=True)
def dataflare_authorize(principal: Principal, action: str, target: str) -> bool | None:
    """Decide whether ``principal`` may do ``action`` (``flow.stop``, ``secret.read``) to ``target``, or pass with None.

    Called before each change and each reading of a secret. The first answer that is not None stands; a fault denies.
    Where nobody answers, only the local owner may.
    """


@hookspec
def dataflare_audit(record: Record) -> None:
    """Keep a record of a change or of the reading of a secret.

    Called before it (``record.phase == "before"``: a fault refuses the change) and after it, with its result. All
    plugins are told.
    """


@hookspec
def dataflare_event(event: Event) -> None:
    """Take note of something that happened.

    Called after the fact, in the order of the events, in a thread of its own. All plugins are told.
    """


@hookspec
def dataflare_health(host: HostApi) -> tuple[bool, str] | None:
    """Is what this plugin looks after well, and why (not)?

    Called on request. All plugins are asked; a fault counts as not well.
    """


@hookspec
def dataflare_doctor(host: HostApi) -> Iterable[Problem] | None:
    """Look for what would go wrong later (a full disk, an expired certificate) and say how to mend it.

    Called by ``dataflare doctor``; may take seconds. All plugins are asked; a fault is shown as a problem.
    """


@hookspec
def dataflare_host_stopping(host: HostApi, reason: str) -> None:
    """The host is about to stop; services still run. Return soon."""
