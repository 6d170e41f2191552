"""Calling tools and commands with what the command line gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dataflare_host.cli.output import as_text, tell
from dataflare_host.cli.process import the_host

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.grants import Grants


def split_config(component: type[Component], given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of ``given`` is the component's configuration, and the rest."""
    from dataflare.fields import fields_of

    known = fields_of(component)
    return {k: v for k, v in given.items() if k in known}, {k: v for k, v in given.items() if k not in known}


def call(component: Component, given: dict[str, Any], grants: Grants | None = None) -> Any:
    """What a tool or command answers, with what it is granted; its progress goes to stderr."""
    from dataflare.context import Context
    from dataflare.drive import ToolDriver, driver_for
    from dataflare.grants import services
    from dataflare.split import Resume

    name, host = component.spec.name, the_host()
    around = {**services(name, grants or {}, host, base=Path.cwd()), "host": host}
    ctx = Context(step=name, base=Path.cwd(), **around)
    driver = cast(ToolDriver, driver_for(component, ctx))
    driver.open(Resume())
    try:
        for last, value in driver.call(given):
            if last:
                return value
            tell(as_text(value).replace("\n", ", "))
    finally:
        driver.close()
