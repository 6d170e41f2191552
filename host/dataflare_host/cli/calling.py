"""Calling tools and commands with what the command line gives: ``key=value`` words and JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from dataflare_host.cli.output import as_text, tell
from dataflare_host.cli.process import the_host

if TYPE_CHECKING:
    from dataflare.component import Component


def values(words: Iterable[str]) -> dict[str, Any]:
    """``("rows=10", "path=a.csv", '{"step": 2}')`` → one mapping. What reads as JSON is JSON, all else text."""
    found: dict[str, Any] = {}
    for word in words:
        if word.lstrip().startswith("{"):
            found.update(_object(word))
            continue
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise click.UsageError(f"`{word}` is neither KEY=VALUE nor a JSON object")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def split_config(component: type[Component], given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of ``given`` is the component's configuration, and the rest."""
    from dataflare.config import json_schema

    known = json_schema(component).get("properties", {})
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


def _object(word: str) -> dict[str, Any]:
    try:
        found = json.loads(word)
    except ValueError as error:
        raise click.UsageError(f"not JSON: {error}") from error
    return dict(found)
