"""The loader ``extism``: Extism modules, as processors and tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Problem
from dataflare.hosting import Guests, Limits, component_classes
from dataflare_host.kinds import Loader
from dataflare_wasm.engine import engine
from dataflare_wasm.extism_guest import FRAMES, Export, Exports, ExtismGuest, PlainGuest, described
from dataflare_wasm.extism_module import IMPORTS, ExtismModule
from dataflare_wasm.imports import insist, lacking, refused
from dataflare_wasm.package import asked, entry_of, table_of

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_host.host import HostApi
    from dataflare_host.manifest import Manifest

KINDS = ("processor", "tool")


class Extism(Loader):
    """Runs Extism modules: their exports as processors and tools, or one export that takes frames.

    The manifest's ``[components.processor]`` and ``[components.tool]`` name an export for each component, perhaps with
    JSON Schemas: ``greet = { export = "greet", input = { properties = { name = { type = "string" } } } }``.
    """

    def components(self, manifest: Manifest, host: HostApi) -> list[type[Component]]:
        """The component classes of a plugin. The module is looked at when the first instance is needed."""
        limits = Limits.of(manifest.limits, host.limits(manifest.id))
        exports, guests = exports_of(manifest), Instances(manifest, limits)
        told: Mapping[str, Any] = described(exports) if exports else table_of(manifest) or asked(guests, manifest.id)
        return component_classes(told, guests, limits, manifest.id)

    def audit(self, artifact: Path, manifest: Manifest) -> Iterable[Problem]:
        """What the module imports beyond its manifest, and what it lacks."""
        try:
            return list(problems_of(artifact, manifest))
        except ConfigError as error:
            return error.problems


class Instances(Guests):
    """The instances of one plugin's module; none is kept that has no work."""

    def __init__(self, manifest: Manifest, limits: Limits) -> None:
        super().__init__(self._started, keep=0)
        self._manifest = manifest
        self._limits = limits
        self._module: ExtismModule | None = None

    def _started(self) -> ExtismGuest:
        if self._module is None:
            file = entry_of(self._manifest)
            insist(problems_of(file, self._manifest))
            self._module = ExtismModule(file, self._limits)
        exports = exports_of(self._manifest)
        if exports:
            return PlainGuest(self._module, self._limits, self._manifest.id, exports)
        return ExtismGuest(self._module, self._limits, self._manifest.id)


def exports_of(manifest: Manifest) -> Exports:
    """The exports that the manifest names; none where the module takes frames. Raises ConfigError."""
    found: dict[tuple[str, str], Export] = {}
    for kind, named in (manifest.components or {}).items():
        for name, told in named.items():
            words: Any = {"export": told} if isinstance(told, str) else told
            known = isinstance(words, dict) and {*words} <= {"export", "config", "input"}
            if kind not in KINDS or not known or not isinstance(words.get("export"), str):
                message = f"`{manifest.id}` cannot have the {kind} `{name}`: an Extism module has processors and tools"
                place = {"file": manifest.file, "pointer": f"/components/{kind}/{name}"}
                fix = 'write `name = "export"`, or `name = { export = "…", input = { … } }` with a JSON Schema'
                raise ConfigError.of("plugin.table_wrong", message, fix=fix, **place)
            if words["export"] == FRAMES:
                continue  # such a component is asked for by frames, as `plugin build` writes it
            found[kind, name] = Export(words["export"], words.get("config") or {}, words.get("input") or {})
    return found


def problems_of(file: Path, manifest: Manifest) -> Iterable[Problem]:
    """Why a module cannot be a plugin of this manifest. Raises ConfigError for what is no module."""
    exports = exports_of(manifest)
    module = engine().module(file)
    yield from refused(module, IMPORTS, manifest.permissions, str(file))
    wanted = dict.fromkeys((each.name for each in exports.values()) if exports else (FRAMES,), ((), ("i32",)))
    yield from lacking(module, wanted, str(file), memory=False)
