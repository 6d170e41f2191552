"""Makes the pages of an index: the home page with its search, and a page a plugin.

What authors wrote is text and never markup: templates escape it, and the pages' policy lets no script run but ours.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_index.catalogue import Listed
from dataflare_index.publishing import names_of
from dataflare_index.searching import line_of, newest_of
from dataflare_index.signing import put

if TYPE_CHECKING:
    from jinja2 import Environment

Json = Any
ASSETS = Path(__file__).parent / "assets"
MOST_DESCRIBED = 4 << 20
"""Bytes of a description that are read."""


def make(index: Path, site: Path) -> dict[str, Json]:
    """Write the pages that changed; ``{"site", "plugins", "written"}``. Raises ConfigError ``index.none``."""
    if not (index / "index.json").exists():
        raise ConfigError.of("index.none", f"{index} holds no index", fix="begin one: `dataflare index init`")
    named = json.loads((index / "index.json").read_text("utf-8"))["name"]
    listed = [one for one in (Listed.read(index, name) for name in names_of(index)) if one.releases]
    needed_by = _dependents(listed)
    templates = _templates()
    home = templates.get_template("home.html").render(index=named, number=len(listed), up="")
    pages = {"index.html": home.encode(), "search-data.js": _search_data([_searched(one) for one in listed])}
    written = sum(_write(site / name, content) for name, content in pages.items())
    written += sum(_write(site / asset.name, asset.read_bytes()) for asset in ASSETS.iterdir())
    page = templates.get_template("plugin.html")
    for one in listed:
        version = newest_of(one)
        told = {
            "plugin": one.name,
            "version": version,
            "release": one.releases[version],
            "components": _components(index, one, version),
            "versions": [(each, one.releases[each]) for each in reversed(one.versions())],
            "dependents": needed_by.get(one.name, []),
        }
        text = page.render(index=named, up="../../", **told)
        written += _write(site / "plugin" / one.name / "index.html", text.encode())
    return {"site": str(site), "plugins": len(listed), "written": written}


def fields_of(schema: Json) -> list[dict[str, str]]:
    """The rows of a component's table of configuration, from its JSON Schema; nothing where it is none."""
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return []
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    return [
        {
            "name": name,
            "type": _type_of(told),
            "default": json.dumps(told["default"], ensure_ascii=False) if "default" in told else "",
            "required": "yes" if name in needed else "",
            "text": str(told.get("description") or ""),
        }
        for name, told in schema["properties"].items()
        if isinstance(told, dict)
    ]


def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("dataflare_site")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _components(index: Path, one: Listed, version: str) -> list[dict[str, Json]]:
    """The components of a release, by kind and name, each with what a wheel of it says of its configuration."""
    release = one.releases[version]
    described = _described(index, one.name, sorted(release["files"]))
    return [
        {
            "kind": kind,
            "name": name,
            "summary": release["summaries"].get(kind, {}).get(name, ""),
            "fields": fields_of(described.get((kind, name))),
        }
        for kind, names in sorted(release["components"].items())
        for name in names
    ]


def _described(index: Path, plugin: str, wheels: list[str]) -> dict[tuple[str, str], Json]:
    """Kind and name of a component → the JSON Schema of its configuration, from the ``components.json`` of a wheel."""
    table = f"dataflare_{plugin.replace('-', '_')}/components.json"
    for file in wheels:
        try:
            with zipfile.ZipFile(index / "files" / plugin / file) as archive:
                if archive.getinfo(table).file_size > MOST_DESCRIBED:
                    continue
                told = json.loads(archive.read(table))
            return {(str(each["kind"]), str(each["name"])): each.get("config") for each in told["components"]}
        except (OSError, KeyError, TypeError, AttributeError, ValueError, zipfile.BadZipFile):
            continue
    return {}


def _type_of(told: dict[str, Json]) -> str:
    choices = told.get("enum")
    if isinstance(choices, list):
        return " | ".join(json.dumps(each, ensure_ascii=False) for each in choices)
    either = told.get("anyOf")
    if isinstance(either, list):
        return " | ".join(_type_of(each) for each in either if isinstance(each, dict))
    named = told.get("type", "any")
    return " | ".join(map(str, named)) if isinstance(named, list) else str(named)


def _dependents(listed: list[Listed]) -> dict[str, list[str]]:
    """Plugin → those whose newest release needs it."""
    found: dict[str, list[str]] = {}
    for one in listed:
        for needed in one.releases[newest_of(one)]["dependencies"]:
            found.setdefault(needed, []).append(one.name)
    return found


def _searched(one: Listed) -> dict[str, Json]:
    return {**line_of(one), "permissions": sorted(one.releases[newest_of(one)]["permissions"])}


def _search_data(lines: list[dict[str, Json]]) -> bytes:
    """What the browser searches, as a script: pages that were opened as files may not fetch."""
    told = json.dumps(lines, separators=(",", ":"), ensure_ascii=True)
    return f"globalThis.plugins = {told};\n".encode()


def _write(file: Path, content: bytes) -> int:
    """Write a file where it is not that already; the number of files written."""
    if file.exists() and file.read_bytes() == content:
        return 0
    put(file, content)
    return 1
