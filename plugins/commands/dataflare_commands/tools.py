"""``tool list | call``: the tools of all plugins, called with ``key=value`` words and JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare import Command, ConfigError, DataflareError, command
from dataflare_host.cli import calling
from dataflare_host.cli.output import table

if TYPE_CHECKING:
    from dataflare_host.registry import Entry

Json = Any


class List(Command, name="tool.list", group="tool"):
    """The tools of all plugins."""

    def call(self, host: Any) -> Json:
        """``{"tools": [{"name", "summary"}]}``; imports a plugin only where its manifest has no summary."""
        return {"tools": [{"name": e.uses, "summary": _summary(e)} for e in host.table().entries("tool")]}

    def show(self, answer: Json) -> str:
        """A line a tool."""
        return table([(tool["name"], tool["summary"]) for tool in answer["tools"]])


@command(name="tool.call", group="tool")
def call(host: Any, name: str, given: tuple[str, ...] = ()) -> Json:
    """Call a tool: `plugin/tool` or `file.py/tool`, with its input and settings.

    For example: dataflare tool call std/profile path=data.jsonl, or: dataflare tool call shop.py/tax-of '{"net": 10}'.
    """
    return call_tool(host, name, values(given))


def call_tool(host: Any, name: str, given: dict[str, Any]) -> Json:
    """What a tool answers to ``given``: its settings and its input, told apart by their names."""
    entry = host.table().find("tool", name, Path.cwd())
    config, given = calling.split_config(entry.load(), given)
    return calling.call(host.component(name, config, "tool", Path.cwd()), given, host.grants(entry.plugin))


def values(words: Iterable[str]) -> dict[str, Any]:
    """``("rows=10", "path=a.csv", '{"step": 2}')`` → one mapping. What reads as JSON is JSON, all else text."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if word.lstrip().startswith("{"):
            found.update(_object(word))
        elif not equals or not key:
            raise ConfigError.of("cli.usage", f"`{word}` is neither KEY=VALUE nor a JSON object")
        else:
            try:
                found[key] = json.loads(text)
            except ValueError:
                found[key] = text
    return found


def _object(word: str) -> dict[str, Any]:
    try:
        return dict(json.loads(word))
    except ValueError as error:
        raise ConfigError.of("cli.usage", f"not JSON: {error}") from error


def _summary(entry: Entry) -> str:
    try:
        return entry.summary or entry.load().spec.summary
    except DataflareError as error:
        return str(error)
