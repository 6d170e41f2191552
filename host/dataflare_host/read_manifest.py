"""Reading a manifest: every mistake in it at once, each with its place and its fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from dataflare.declare import did_you_mean, normalise
from dataflare.errors import ConfigError, Problem
from dataflare_host.manifest import CONTRACT, FILE, VERSION, Manifest

Json = Any
SCHEMA = 1
FEATURES = frozenset({"state", "timers"})
"""The optional features that this host offers."""
PERMISSIONS = ("http", "secrets", "files", "sockets", "inputs", "env", "processes", "host", "cache")
DEFAULTS = ("planner", "engine", "mode", "state", "layers", "secrets")

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = re.compile(r"[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_HOOK_PREFIX = "dataflare_"


def load_manifest(file: Path, package: str = "") -> Manifest:
    """Read and check a manifest; nothing of the plugin is imported. Raises ConfigError with every problem."""
    try:
        given = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError.of(
            "plugin.manifest_missing",
            f"the package has no {FILE}",
            file=str(file),
            fix=f"put a {FILE} into the package",
        ) from None
    except OSError as error:
        raise ConfigError.of("plugin.manifest_unreadable", str(error), file=str(file)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        spot = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(spot[1]), int(spot[2])) if spot else (None, None)
        raise ConfigError.of(
            "plugin.manifest_syntax", f"not valid TOML: {error}", file=str(file), line=line, column=column
        ) from error
    reader = _Reader(str(file))
    manifest = _read(reader, given, package)
    if reader.problems:
        raise ConfigError(*reader.problems)
    return manifest


class _Reader:
    """Takes values out of a table and collects what is wrong with them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def refuse(self, code: str, pointer: str, message: str, fix: str | None = None) -> None:
        self.problems.append(Problem(f"plugin.{code}", message, file=self.file, pointer=pointer, fix=fix))

    def known(self, table: Mapping[str, Json], pointer: str, names: Iterable[str]) -> None:
        names = tuple(names)
        for key in table:
            if key not in names:
                fix = did_you_mean(key, names, f"known here: {', '.join(names)}")
                self.refuse("manifest_unknown_key", f"{pointer}/{key}", f"`{key}` is not a key of this table", fix)

    def table(self, table: Mapping[str, Json], key: str, pointer: str = "") -> dict[str, Json]:
        value = table.get(key, {})
        if isinstance(value, dict):
            return value
        self.refuse("manifest_type", f"{pointer}/{key}", f"`{key}` must be a table, got {value!r}")
        return {}

    def text(self, table: Mapping[str, Json], key: str, pointer: str, needed: bool = False) -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            self.refuse("manifest_type", f"{pointer}/{key}", f"`{key}` must be text, got {value!r}")
            return ""
        if needed and not value.strip():
            self.refuse("manifest_missing_key", f"{pointer}/{key}", f"`{key}` is missing", f"add `{key} = …`")
        return value

    def texts(self, table: Mapping[str, Json], key: str, pointer: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.refuse("manifest_type", f"{pointer}/{key}", f"`{key}` must be a list of texts, got {value!r}")
        return ()

    def target(self, value: Json, pointer: str) -> bool:
        if isinstance(value, str) and _TARGET.fullmatch(value):
            return True
        self.refuse("manifest_value", pointer, f"{value!r} does not name an object", "write `package.module:object`")
        return False

    def use(self, value: Json, pointer: str) -> bool:
        """``{ uses = "plugin/component", with = { … } }``."""
        if isinstance(value, dict) and isinstance(value.get("uses"), str) and isinstance(value.get("with", {}), dict):
            self.known(value, pointer, ("uses", "with"))
            return True
        self.refuse(
            "manifest_value",
            pointer,
            "this must name a component",
            'write `{ uses = "plugin/component", with = { … } }`',
        )
        return False


def _read(reader: _Reader, given: Mapping[str, Json], package: str) -> Manifest:
    tables = "plugin api runtime components summaries kinds hooks defaults dependencies permissions limits deprecations"
    reader.known(given, "", ("schema", *tables.split()))
    if given.get("schema") != SCHEMA:
        reader.refuse(
            "manifest_schema",
            "/schema",
            f"this host reads manifests of schema {SCHEMA}, got {given.get('schema')!r}",
            f"write `schema = {SCHEMA}` as the first line",
        )
    plugin, api = reader.table(given, "plugin"), reader.table(given, "api")
    runtime, hooks = reader.table(given, "runtime"), reader.table(given, "hooks")
    reader.known(plugin, "/plugin", ("id", "version", "summary", "license"))
    reader.known(api, "/api", ("requires", "host", "features"))
    reader.known(runtime, "/runtime", ("kind", "entry"))
    reader.known(hooks, "/hooks", ("module", "names"))
    kind = reader.text(runtime, "kind", "/runtime", needed=True)
    manifest = Manifest(
        id=_id(reader, plugin),
        version=reader.text(plugin, "version", "/plugin", needed=True),
        summary=reader.text(plugin, "summary", "/plugin"),
        license=reader.text(plugin, "license", "/plugin"),
        file=reader.file,
        package=package,
        runtime=kind,
        entry=reader.text(runtime, "entry", "/runtime", needed=kind == "python" and "components" not in given),
        api=reader.text(api, "requires", "/api", needed=True),
        host=reader.text(api, "host", "/api"),
        features=reader.texts(api, "features", "/api"),
        components=_components(reader, given, kind),
        summaries=_by_name(reader, given, "summaries"),
        kinds={
            name: target
            for name, target in reader.table(given, "kinds").items()
            if reader.target(target, f"/kinds/{name}")
        },
        hooks=tuple(name.removeprefix(_HOOK_PREFIX) for name in reader.texts(hooks, "names", "/hooks")),
        hooks_module=reader.text(hooks, "module", "/hooks", needed=bool(hooks)),
        defaults=_defaults(reader, given),
        dependencies=_dependencies(reader, given),
        permissions=_permissions(reader, given),
        limits=reader.table(given, "limits"),
        deprecations=_deprecations(reader, given),
    )
    _check_versions(reader, manifest)
    return manifest


def _id(reader: _Reader, plugin: Mapping[str, Json]) -> str:
    given = reader.text(plugin, "id", "/plugin", needed=True)
    if given and not _ID.fullmatch(given):
        better = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")
        reader.refuse("manifest_id", "/plugin/id", f"`{given}` is not a normalised name", f"write `{better}`")
    return given


def _by_name(reader: _Reader, given: Mapping[str, Json], section: str) -> dict[str, dict[str, Json]]:
    """``[section.kind] name = value``, the names in their canonical form."""
    found: dict[str, dict[str, Json]] = {}
    for kind in reader.table(given, section):
        listed = found.setdefault(kind, {})
        for name, value in reader.table(given[section], kind, f"/{section}").items():
            if not _NAME.fullmatch(name):
                reader.refuse("manifest_value", f"/{section}/{kind}/{name}", f"`{name}` cannot name a component")
            if normalise(name) in listed:
                reader.refuse("manifest_value", f"/{section}/{kind}/{name}", f"`{normalise(name)}` is there twice")
            listed[normalise(name)] = value
    return found


def _components(reader: _Reader, given: Mapping[str, Json], runtime: str) -> dict[str, dict[str, Json]] | None:
    if "components" not in given:
        return {} if runtime == "declarative" else None
    found = _by_name(reader, given, "components")
    check = {"python": reader.target, "declarative": reader.use}.get(runtime)
    for kind, listed in found.items():
        for name, value in listed.items():
            if check is not None:
                check(value, f"/components/{kind}/{name}")
    return found


def _defaults(reader: _Reader, given: Mapping[str, Json]) -> dict[str, dict[str, Json]]:
    table = reader.table(given, "defaults")
    reader.known(table, "/defaults", DEFAULTS)
    return {
        key: {"uses": value["uses"], "with": value.get("with", {})}
        for key, value in table.items()
        if reader.use(value, f"/defaults/{key}")
    }


def _dependencies(reader: _Reader, given: Mapping[str, Json]) -> dict[str, str]:
    table = reader.table(given, "dependencies")
    return {name: reader.text(table, name, "/dependencies") for name in table}


def _permissions(reader: _Reader, given: Mapping[str, Json]) -> dict[str, tuple[dict[str, Json], ...]]:
    table = reader.table(given, "permissions")
    reader.known(table, "/permissions", PERMISSIONS)
    found: dict[str, tuple[dict[str, Json], ...]] = {}
    for word, rules in table.items():
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            reader.refuse("manifest_type", f"/permissions/{word}", f"`{word}` must be a list of tables")
            continue
        for index, rule in enumerate(rules):
            reader.text(rule, "reason", f"/permissions/{word}/{index}", needed=True)
        found[word] = tuple(rules)
    return found


def _deprecations(reader: _Reader, given: Mapping[str, Json]) -> dict[str, dict[str, str]]:
    found = {}
    for version, told in reader.table(given, "deprecations").items():
        pointer = f"/deprecations/{version}"
        if not isinstance(told, dict):
            reader.refuse("manifest_type", pointer, "this must be a table with `message` and `deadline`")
            continue
        reader.known(told, pointer, ("message", "deadline"))
        found[version] = {
            "message": reader.text(told, "message", pointer, needed=True),
            "deadline": str(told.get("deadline", "")),
        }
    return found


def _check_versions(reader: _Reader, manifest: Manifest) -> None:
    """Is what the plugin needs within what this host is?"""
    try:
        Version(manifest.version or "0")
    except InvalidVersion:
        reader.refuse("manifest_value", "/plugin/version", f"`{manifest.version}` is not a PEP 440 version")
    for key, wanted, have, what in (
        ("requires", manifest.api, CONTRACT, "the plugin contract"),
        ("host", manifest.host, VERSION, "the host"),
    ):
        within = admits(wanted, have)
        if within is None:
            reader.refuse("manifest_value", f"/api/{key}", f"`{wanted}` is not a version range", "write `>=1.0,<2`")
        elif not within:
            reader.refuse("api", f"/api/{key}", f"it needs {what} {wanted}; here it is {have}", "use another version")
    for name, wanted in manifest.dependencies.items():
        if admits(wanted, "0") is None:
            reader.refuse("manifest_value", f"/dependencies/{name}", f"`{wanted}` is not a version range of `{name}`")
    for feature in manifest.features:
        if feature not in FEATURES:
            known = ", ".join(sorted(FEATURES))
            reader.refuse("feature", "/api/features", f"this host has no feature `{feature}`", f"it has: {known}")


def admits(wanted: str, version: str) -> bool | None:
    """Is ``version`` in the range ``wanted`` (empty: any)? None: the range cannot be read."""
    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except InvalidSpecifier:
        return None
