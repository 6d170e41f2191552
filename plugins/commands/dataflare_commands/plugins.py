"""``plugin list | info``: what is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflare import Command, ConfigError, DataflareError, Problem
from dataflare_host.cli.output import show_problems, styled, table, tell

if TYPE_CHECKING:
    from dataflare_host.manifest import Manifest
    from dataflare_host.registry import Entry

Json = Any


class List(Command, name="plugin.list", group="plugin"):
    """The plugins, and the faulty ones with what is wrong; no plugin's code is imported."""

    def call(self, host: Any) -> Json:
        """``{"plugins": [{"id", "version", "summary", "runtime"}], "faulty": [{"id", "version", "problems"}]}``.

        Those that neither set nor lock names are in ``unverified`` too: ``[{"id", "version", "problems"}]``.
        """
        from dataflare_host.unverified import problem_of

        known = host.table()
        plugins = [
            {"id": each.id, "version": each.version, "summary": each.summary, "runtime": each.runtime}
            for each in known.plugins.values()
        ]
        faulty = [
            {"id": each.id, "version": each.version, "problems": [problem.as_json() for problem in each.problems]}
            for each in known.faulty
        ]
        unverified = [
            {"id": each.id, "version": each.version, "problems": [problem_of(each).as_json()]}
            for each in known.plugins.values()
            if each.unverified
        ]
        return {"plugins": plugins, "faulty": faulty, "unverified": unverified}

    def show(self, answer: Json) -> str:
        """A line a plugin; the faulty ones go to stderr."""
        for each in answer["faulty"]:
            tell(f"\n{each['id']} {each['version']} cannot be used:")
            show_problems(Problem(**problem) for problem in each["problems"])
        for each in answer["unverified"]:
            show_problems(Problem(**problem) for problem in each["problems"])
        return table([(p["id"], p["version"], p["summary"]) for p in answer["plugins"]], ("plugin", "version", ""))


class Info(Command, name="plugin.info", group="plugin"):
    """A plugin's components with their configuration, and what it may do and why."""

    def call(self, host: Any, plugin: str) -> Json:
        """The manifest, its components with ``config`` (JSON Schema). Raises ConfigError ``plugin.unknown``."""
        manifest = installed(host, plugin)
        components = [_component(entry) for entry in host.table().entries() if entry.plugin == manifest.id]
        return {**manifest.as_json(), "components": components}

    def show(self, answer: Json) -> str:
        """A page."""
        return _as_page(answer)


def installed(host: Any, plugin: str) -> Manifest:
    """The manifest of a plugin. Raises ConfigError ``plugin.unknown``."""
    from dataflare.declare import did_you_mean, normalise

    plugins: Mapping[str, Manifest] = host.table().plugins
    manifest = plugins.get(normalise(plugin))
    if manifest is None:
        fix = did_you_mean(plugin, plugins, "`dataflare plugin list` shows what is there")
        raise ConfigError.of("plugin.unknown", f"no plugin `{plugin}` is installed here", fix=fix)
    return manifest


def _component(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": entry.kind, "name": entry.name, "uses": entry.uses, "summary": entry.summary}
    try:
        made = entry.load()
        from dataflare.config import json_schema

        declared = {key: value for key, value in made.spec.declared.items() if value not in (None, (), False)}
        return {**told, "summary": made.spec.summary, "abilities": declared, "config": json_schema(made)}
    except DataflareError as error:
        return {**told, "problem": error.problems[0].as_json()}


def _as_page(told: dict[str, Any]) -> str:
    lines = [f"{styled(told['id'], bold=True)} {told['version']}  {told['summary']}", f"  {told['file']}"]
    for each in told["components"]:
        lines += ["", f"{each['kind']} {styled(each['uses'], bold=True)}  {each['summary']}"]
        if "problem" in each:
            lines.append(f"  cannot be loaded: {each['problem']['message']}")
        config = each.get("config", {})
        needed = config.get("required", ())
        rows = [
            (f"  {name}", _type(field), "required" if name in needed else _default(field), field.get("description", ""))
            for name, field in config.get("properties", {}).items()
        ]
        lines += [table(rows)] if rows else []
    lines += ["", "permissions" if told["permissions"] else "permissions: none"]
    for word, rules in told["permissions"].items():
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
