"""What is given on the command line for a component: ``key=value`` words and JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

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


def _object(word: str) -> dict[str, Any]:
    try:
        found = json.loads(word)
    except ValueError as error:
        raise click.UsageError(f"not JSON: {error}") from error
    return dict(found)
