"""Makes the pages of an index: the home page with its search, and a page a plugin.

What authors wrote is text and never markup: templates escape it, and the pages' policy lets no script run but ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_index.catalogue import Listed
from dataflare_index.publishing import names_of
from dataflare_index.searching import line_of, newest_of
from dataflare_packages.surface import Surface
from dataflare_site.history import history, surfaces_of

if TYPE_CHECKING:
    from jinja2 import Environment

Json = Any
ASSETS = Path(__file__).parent / "assets"
REPORT = "report.html"
NEWEST = 8
"""Plugins that the home page shows before anybody searches."""


def make(index: Path, site: Path) -> dict[str, Json]:
    """Write the pages that changed; ``{"site", "plugins", "written"}``. Raises ConfigError ``index.none``."""
    if not (index / "index.json").exists():
        raise ConfigError.of("index.none", f"{index} holds no index", fix="begin one: `dataflare index init`")
    named = json.loads((index / "index.json").read_text("utf-8"))["name"]
    listed = [one for one in (Listed.read(index, name) for name in names_of(index)) if one.releases]
    needed_by, made, templates = _dependents(listed), _Made.read(site), _templates()
    newest = sorted(listed, key=_published, reverse=True)[:NEWEST]
    shown = [(one.name, newest_of(one), one.releases[newest_of(one)]) for one in newest]
    home = templates.get_template("home.html").render(index=named, number=len(listed), newest=shown, up="")
    pages = {"index.html": home.encode(), "search-data.js": _search_data([_searched(one) for one in listed])}
    written = sum(_write(site / name, content) for name, content in pages.items())
    written += sum(_write(site / asset.name, asset.read_bytes()) for asset in ASSETS.iterdir())
    known = {one.name for one in listed}
    for one in listed:
        around = [
            named,
            needed_by.get(one.name, []),
            sorted(known & one.releases[newest_of(one)]["dependencies"].keys()),
        ]
        if made.has(one, around):
            continue
        pages = _pages(index, one, templates, named, needed_by.get(one.name, []), known)
        written += sum(_write(site / "plugin" / one.name / name, content) for name, content in pages.items())
        if REPORT not in pages:
            (site / "plugin" / one.name / REPORT).unlink(missing_ok=True)
        made.keep(one, around)
    for gone in made.beyond(known):
        shutil.rmtree(site / "plugin" / gone, ignore_errors=True)
    made.write(known)
    return {"site": str(site), "plugins": len(listed), "written": written}


def _pages(
    index: Path, one: Listed, templates: Environment, named: str, dependents: list[str], known: set[str]
) -> dict[str, bytes]:
    """The page of a plugin, and that of its report of conformance, where it has one."""
    version, surfaces = newest_of(one), surfaces_of(index, one)
    release = one.releases[version]
    told = {
        "index": named,
        "up": "../../",
        "plugin": one.name,
        "version": version,
        "release": release,
        "publisher": release.get("publisher") or {},
        "report": release.get("report") or {},
        "warned": one.warned(version),
        "components": _components(release, surfaces.get(version)),
        "versions": history(one, surfaces),
        "dependents": dependents,
        "known": known,
    }
    pages = {"index.html": templates.get_template("plugin.html").render(told).encode()}
    try:
        report = json.loads((index / "reports" / one.name / f"{version}.json").read_text("utf-8"))
        text = json.dumps(report, indent=1, ensure_ascii=False)
    except (OSError, ValueError):
        return pages
    return {**pages, REPORT: templates.get_template("report.html").render({**told, "text": text}).encode()}


class _Made:
    """What pages were made of when they were written last, so that nothing is rendered again without need."""

    def __init__(self, file: Path, told: dict[str, str]) -> None:
        self._file = file
        self._told = told
        sources = [
            *sorted((Path(__file__).parent / "templates").iterdir()),
            *sorted(Path(__file__).parent.glob("*.py")),
        ]
        self._by = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()

    @classmethod
    def read(cls, site: Path) -> _Made:
        """What a site's folder says of itself; nothing where it is new."""
        file = site / "made.json"
        try:
            told = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            told = {}
        return cls(file, told if isinstance(told, dict) else {})

    def has(self, one: Listed, around: Json) -> bool:
        """Is a plugin's page as it would be made now?"""
        page = self._file.parent / "plugin" / one.name / "index.html"
        return self._told.get(one.name) == self._digest(one, around) and page.exists()

    def keep(self, one: Listed, around: Json) -> None:
        """Its page is made."""
        self._told[one.name] = self._digest(one, around)

    def beyond(self, known: set[str]) -> list[str]:
        """Plugins that have pages, and are not there any more."""
        return [name for name in self._told if name not in known and Path(name).name == name]

    def write(self, known: set[str]) -> None:
        """Remember it for the plugins that there are."""
        told = {name: digest for name, digest in sorted(self._told.items()) if name in known}
        _write(self._file, json.dumps(told, indent=0).encode())

    def _digest(self, one: Listed, around: Json) -> str:
        return hashlib.sha256(one.content() + json.dumps([self._by, around]).encode()).hexdigest()


def _published(one: Listed) -> str:
    return max((str(file["published"]) for file in one.releases[newest_of(one)]["files"].values()), default="")


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


def _components(release: Json, surface: Surface | None) -> list[dict[str, Json]]:
    """The components that manifest or wheel tell of, by kind and name, with what the wheel says of configurations."""
    described = surface.components if surface else {}
    listed = {(kind, name) for kind, names in release["components"].items() for name in names}
    listed |= {(kind, name) for kind, _, name in (each.partition("/") for each in described)}
    return [
        {
            "kind": kind,
            "name": name,
            "summary": release["summaries"].get(kind, {}).get(name, ""),
            "fields": fields_of(described.get(f"{kind}/{name}", {}).get("config")),
        }
        for kind, name in sorted(listed)
    ]


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
    """Write a file whole, where it is not that already; the number of files written."""
    if file.exists() and file.read_bytes() == content:
        return 0
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(file)
    return 1
