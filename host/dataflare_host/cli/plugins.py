"""``plugin list | info`` and ``tool list | call``: what is installed, and calling its tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataflare.errors import ConfigError, DataflareError
from dataflare_host.cli import calling
from dataflare_host.cli.calling import split_config, values
from dataflare_host.cli.output import emit, json_option, show, show_problems, table, tell
from dataflare_host.cli.process import the_host

if TYPE_CHECKING:
    from dataflare_host.manifest import Manifest
    from dataflare_host.registry import Entry


@click.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """The plugins, and the faulty ones with what is wrong; no plugin's code is imported."""
    known = the_host().table()
    if as_json:
        plugins = [
            {"id": each.id, "version": each.version, "summary": each.summary, "runtime": each.runtime}
            for each in known.plugins.values()
        ]
        faulty = [
            {"id": each.id, "version": each.version, "problems": [problem.as_json() for problem in each.problems]}
            for each in known.faulty
        ]
        emit({"plugins": plugins, "faulty": faulty})
        return
    rows = [(each.id, each.version, each.summary) for each in known.plugins.values()]
    click.echo(table(rows, ("plugin", "version", "")))
    for each in known.faulty:
        tell(f"\n{each.id} {each.version} cannot be used:")
        show_problems(each.problems)


@click.command(name="info")
@click.argument("plugin")
@json_option
def info(plugin: str, as_json: bool) -> None:
    """A plugin's components with their configuration, and what it may do and why."""
    from dataflare.declare import nearest, normalise

    known = the_host().table()
    manifest = known.plugins.get(normalise(plugin))
    if manifest is None:
        near = nearest(plugin, known.plugins)
        fix = f"did you mean `{near}`?" if near else "`dataflare plugin list` shows what is there"
        raise ConfigError.of("plugin.unknown", f"no plugin `{plugin}` is installed here", fix=fix)
    components = [_component(entry) for entry in known.entries() if entry.plugin == manifest.id]
    if as_json:
        emit({**manifest.as_json(), "components": components})
    else:
        click.echo(_as_page(manifest, components))


@click.command(name="list")
@json_option
def tools(as_json: bool) -> None:
    """The tools of all plugins."""
    found = [(entry.uses, _summary(entry)) for entry in the_host().table().entries("tool")]
    if as_json:
        emit({"tools": [{"name": name, "summary": summary} for name, summary in found]})
    else:
        click.echo(table(found))


@click.command(name="call")
@click.argument("name")
@click.argument("given", nargs=-1, metavar="[KEY=VALUE | JSON]...")
@json_option
def call(name: str, given: tuple[str, ...], as_json: bool) -> None:
    """Call a tool: `plugin/tool` or `file.py/tool`, with its input and settings.

    For example: dataflare tool call std/profile path=data.jsonl, or: dataflare tool call shop.py/tax-of '{"net": 10}'.
    """
    show(call_tool(name, values(given)), as_json)


def call_tool(name: str, given: dict[str, Any]) -> Any:
    """What a tool answers to ``given``: its settings and its input, told apart by their names."""
    config, given = split_config(the_host().table().find("tool", name, Path.cwd()).load(), given)
    return calling.call(the_host().component(name, config, "tool", Path.cwd()), given)


def _component(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": entry.kind, "name": entry.name, "uses": entry.uses, "summary": entry.summary}
    try:
        made = entry.load()
        from dataflare.config import json_schema

        declared = {key: value for key, value in made.spec.declared.items() if value not in (None, (), False)}
        return {**told, "summary": made.spec.summary, "abilities": declared, "config": json_schema(made)}
    except DataflareError as error:
        return {**told, "problem": error.problems[0].as_json()}


def _summary(entry: Entry) -> str:
    try:
        return entry.summary or entry.load().spec.summary
    except DataflareError as error:
        return str(error)


def _as_page(manifest: Manifest, components: list[dict[str, Any]]) -> str:
    lines = [f"{click.style(manifest.id, bold=True)} {manifest.version}  {manifest.summary}", f"  {manifest.file}"]
    for each in components:
        lines += ["", f"{each['kind']} {click.style(each['uses'], bold=True)}  {each['summary']}"]
        if "problem" in each:
            lines.append(f"  cannot be loaded: {each['problem']['message']}")
        config = each.get("config", {})
        needed = config.get("required", ())
        rows = [
            (f"  {name}", _type(field), "required" if name in needed else _default(field), field.get("description", ""))
            for name, field in config.get("properties", {}).items()
        ]
        lines += [table(rows)] if rows else []
    lines += ["", "permissions" if manifest.permissions else "permissions: none"]
    for word, rules in manifest.permissions.items():
        for rule in rules:
            wanted = ", ".join(f"{key} {value}" for key, value in rule.items() if key != "reason")
            lines.append(f"  {word}  {wanted}: {rule['reason']}")
    return "\n".join(lines)


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "anyOf" in field:
        return " | ".join(_type(each) for each in field["anyOf"])
    named = field.get("type") or str(field.get("$ref", "any")).rpartition("/")[2]
    return named if isinstance(named, str) else " | ".join(named)


def _default(field: dict[str, Any]) -> str:
    return json.dumps(field["default"], ensure_ascii=False) if "default" in field else ""
