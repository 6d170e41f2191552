"""Calling tools and commands with what the command line gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dataflare_host.cli.output import as_text, tell
from dataflare_host.cli.process import the_host

if TYPE_CHECKING:
    from dataflare.component import Component


def split_config(component: type[Component], given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of ``given`` is the component's configuration, and the rest."""
    from dataflare.fields import fields_of

    known = fields_of(component)
    return {k: v for k, v in given.items() if k in known}, {k: v for k, v in given.items() if k not in known}


def call(component: Component, given: dict[str, Any]) -> Any:
    """What a tool or command answers; its progress goes to stderr."""
    from dataflare.context import Context
    from dataflare.drive import ToolDriver, driver_for
    from dataflare.split import Resume

    ctx = Context(step=component.spec.name, base=Path.cwd(), host=the_host())
    driver = cast(ToolDriver, driver_for(component, ctx))
    driver.open(Resume())
    try:
        for last, value in driver.call(given):
            if last:
                return value
            tell(as_text(value).replace("\n", ", "))
    finally:
        driver.close()
