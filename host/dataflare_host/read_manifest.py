"""Reading a manifest: every mistake in it at once, each with its place and its fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
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
DEFAULTS = ("planner", "engine", "mode", "state", "layers", "secrets", "broker")
_KEYS = {
    "": "schema plugin api runtime components summaries kinds hooks defaults dependencies permissions limits "
    "deprecations",
    "/plugin": "id version summary license",
    "/api": "requires host features",
    "/runtime": "kind entry",
    "/hooks": "module names",
    "/defaults": " ".join(DEFAULTS),
    "/permissions": " ".join(PERMISSIONS),
}
"""Table → the keys that it may have."""

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = re.compile(r"[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def load_manifest(file: Path, package: str = "") -> Manifest:
    """Read and check a manifest; nothing of the plugin is imported. Raises ConfigError with every problem."""
    try:
        given = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        message, fix = f"the package has no {FILE}", f"put a {FILE} into the package"
        raise ConfigError.of("plugin.manifest_missing", message, file=str(file), fix=fix) from None
    except OSError as error:
        raise ConfigError.of("plugin.manifest_unreadable", str(error), file=str(file)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        spot = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(spot[1]), int(spot[2])) if spot else (None, None)
        raise ConfigError.of(
            "plugin.manifest_syntax", f"not valid TOML: {error}", file=str(file), line=line, column=column
        ) from error
    reader = _Reader(str(file), given)
    manifest = reader.manifest(package)
    reader.check_versions(manifest)
    if reader.problems:
        raise ConfigError(*reader.problems)
    return manifest


def admits(wanted: str, version: str) -> bool | None:
    """Is ``version`` in the range ``wanted`` (empty: any)? None: the range cannot be read."""
    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except InvalidSpecifier:
        return None


def _mending(wanted: str, have: str) -> str:
    """What to do about a range that ``have`` is not in: it begins above it, or ends below."""
    begins = [each.version for each in SpecifierSet(wanted) if each.operator in (">=", ">", "==", "~=")]
    if any(Version(version.removesuffix(".*")) > Version(have) for version in begins):
        return "update the host, or use an older version of the plugin"
    return "use a newer version of the plugin"


class _Reader:
    """Takes the values out of a manifest's tables and collects what is wrong with them."""

    def __init__(self, file: str, given: Mapping[str, Json]) -> None:
        self.file, self.given = file, given
        self.problems: list[Problem] = []

    def manifest(self, package: str) -> Manifest:
        self.known(self.given, "")
        if (schema := self.given.get("schema")) != SCHEMA:
            message = f"this host reads manifests of schema {SCHEMA}, got {schema!r}"
            self.refuse("manifest_schema", "/schema", message, f"write `schema = {SCHEMA}` as the first line")
        plugin, api, runtime, hooks = map(self.table, ("plugin", "api", "runtime", "hooks"))
        needs = self.table("dependencies")
        kind = self.text(runtime, "kind", "/runtime", needed=True)
        return Manifest(
            id=self.id(plugin),
            version=self.text(plugin, "version", "/plugin", needed=True),
            summary=self.text(plugin, "summary", "/plugin"),
            license=self.text(plugin, "license", "/plugin"),
            file=self.file,
            package=package,
            runtime=kind,
            entry=self.text(runtime, "entry", "/runtime", needed=kind == "python" and "components" not in self.given),
            api=self.text(api, "requires", "/api", needed=True),
            host=self.text(api, "host", "/api"),
            features=self.texts(api, "features", "/api"),
            components=self.components(kind),
            summaries=self.by_name("summaries"),
            kinds={kind: given for kind, given in self.table("kinds").items() if self.target(given, f"/kinds/{kind}")},
            hooks=tuple(name.removeprefix("dataflare_") for name in self.texts(hooks, "names", "/hooks")),
            hooks_module=self.text(hooks, "module", "/hooks", needed=bool(hooks)),
            defaults={
                word: {"uses": given["uses"], "with": given.get("with", {})}
                for word, given in self.table("defaults").items()
                if self.use(given, f"/defaults/{word}")
            },
            dependencies={name: self.text(needs, name, "/dependencies") for name in needs},
            permissions=self.permissions(),
            limits=self.table("limits"),
            deprecations=self.deprecations(),
        )

    def check_versions(self, manifest: Manifest) -> None:
        """Is what the plugin needs within what this host is?"""
        try:
            Version(manifest.version or "0")
        except InvalidVersion:
            self.refuse("manifest_value", "/plugin/version", f"`{manifest.version}` is not a PEP 440 version")
        for key, wanted, have, what in (
            ("requires", manifest.api, CONTRACT, "the plugin contract"),
            ("host", manifest.host, VERSION, "the host"),
        ):
            within = admits(wanted, have)
            if within is None:
                self.refuse("manifest_value", f"/api/{key}", f"`{wanted}` is not a version range", "write `>=1.0,<2`")
            elif not within:
                message = f"it needs {what} {wanted}; here it is {have}"
                self.refuse("api", f"/api/{key}", message, _mending(wanted, have))
        for name, wanted in manifest.dependencies.items():
            if admits(wanted, "0") is None:
                self.refuse("manifest_value", f"/dependencies/{name}", f"`{wanted}` is not a version range of `{name}`")
        for feature in (feature for feature in manifest.features if feature not in FEATURES):
            known = ", ".join(sorted(FEATURES))
            self.refuse("feature", "/api/features", f"this host has no feature `{feature}`", f"it has: {known}")

    # --- the parts of a manifest ----------------------------------------------------------------------

    def id(self, plugin: Mapping[str, Json]) -> str:
        given = self.text(plugin, "id", "/plugin", needed=True)
        if given and not _ID.fullmatch(given):
            better = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")
            self.refuse("manifest_id", "/plugin/id", f"`{given}` is not a normalised name", f"write `{better}`")
        return given

    def by_name(self, section: str) -> dict[str, dict[str, Json]]:
        """``[section.kind] name = value``, the names in their canonical form."""
        found: dict[str, dict[str, Json]] = {}
        for kind in (kinds := self.table(section)):
            listed = found.setdefault(kind, {})
            for name, value in self.table(kind, kinds, f"/{section}").items():
                pointer = f"/{section}/{kind}/{name}"
                if not _NAME.fullmatch(name):
                    self.refuse("manifest_value", pointer, f"`{name}` cannot name a component")
                if normalise(name) in listed:
                    self.refuse("manifest_value", pointer, f"`{normalise(name)}` is there twice")
                listed[normalise(name)] = value
        return found

    def components(self, runtime: str) -> dict[str, dict[str, Json]] | None:
        if "components" not in self.given:
            return {} if runtime == "declarative" else None
        found = self.by_name("components")
        check = {"python": self.target, "declarative": self.use}.get(runtime)
        for kind, listed in found.items():
            for name, value in listed.items():
                if check is not None:
                    check(value, f"/components/{kind}/{name}")
        return found

    def permissions(self) -> dict[str, tuple[dict[str, Json], ...]]:
        from dataflare.grants import mistakes

        found: dict[str, tuple[dict[str, Json], ...]] = {}
        for word, rules in self.table("permissions").items():
            wrong = list(mistakes(rules))
            for pointer, message in wrong:
                self.refuse("manifest_type", f"/permissions/{word}{pointer}", f"`{word}`: {message}")
            if wrong:
                continue
            for index, rule in enumerate(rules):
                self.text(rule, "reason", f"/permissions/{word}/{index}", needed=True)
            found[word] = tuple(rules)
        return found

    def deprecations(self) -> dict[str, dict[str, str]]:
        found = {}
        for version, given in (told := self.table("deprecations")).items():
            each, pointer = self.table(version, told, "/deprecations"), f"/deprecations/{version}"
            self.known(each, pointer, "message deadline")
            message = self.text(each, "message", pointer, needed=each is given)
            found[version] = {"message": message, "deadline": str(each.get("deadline", ""))}
        return found

    # --- values, each checked -------------------------------------------------------------------------

    def refuse(self, code: str, pointer: str, message: str, fix: str | None = None) -> None:
        self.problems.append(Problem(f"plugin.{code}", message, file=self.file, pointer=pointer, fix=fix))

    def known(self, table: Mapping[str, Json], pointer: str, keys: str = "") -> None:
        names = (keys or _KEYS[pointer]).split()
        for key in (key for key in table if key not in names):
            fix = did_you_mean(key, names, f"known here: {', '.join(names)}")
            self.refuse("manifest_unknown_key", f"{pointer}/{key}", f"`{key}` is not a key of this table", fix)

    def table(self, key: str, within: Mapping[str, Json] | None = None, pointer: str = "") -> dict[str, Json]:
        value, pointer = (self.given if within is None else within).get(key, {}), f"{pointer}/{key}"
        if not isinstance(value, dict):
            self.refuse("manifest_type", pointer, f"`{key}` must be a table, got {value!r}")
            return {}
        if pointer in _KEYS:
            self.known(value, pointer)
        return value

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
            self.known(value, pointer, "uses with")
            return True
        fix = 'write `{ uses = "plugin/component", with = { … } }`'
        self.refuse("manifest_value", pointer, "this must name a component", fix)
        return False
