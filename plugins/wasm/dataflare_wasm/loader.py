"""The loader ``wasm``: plugins that are core modules with the exports of the guest protocol."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.errors import ConfigError, Problem
from dataflare.hosting import Guests, Limits, component_classes
from dataflare_host.kinds import Loader
from dataflare_wasm.engine import Engine, Settings, engine
from dataflare_wasm.exchange import IMPORTS
from dataflare_wasm.guest import EXPORTS, WasmGuest
from dataflare_wasm.imports import insist, lacking, refused
from dataflare_wasm.package import asked, entry_of, table_of

if TYPE_CHECKING:
    import wasmtime

    from dataflare.component import Component
    from dataflare_host.host import HostApi
    from dataflare_host.manifest import Manifest


class Wasm(Loader):
    """Runs WASM modules that speak the guest protocol."""

    def components(self, manifest: Manifest, host: HostApi) -> list[type[Component]]:
        """The component classes of a plugin: from its table, else its module is asked."""
        file, limits = entry_of(manifest), Limits.of(manifest.limits, host.limits(manifest.id))
        guests = Instances(file, limits, manifest)
        return component_classes(table_of(manifest) or asked(guests, manifest.id), guests, limits, manifest.id)

    def audit(self, artifact: Path, manifest: Manifest) -> Iterable[Problem]:
        """What the module imports beyond its manifest, and what it lacks. Compiles it into the cache."""
        try:
            module = engine_for(Limits.of(manifest.limits)).module(artifact)
        except ConfigError as error:
            return error.problems
        return list(problems_of(module, manifest, str(artifact)))


class Instances(Guests):
    """The instances of one plugin's module, compiled and checked when the first is needed.

    None is kept that has no work: a fresh one takes a millisecond, one that waits some megabytes.
    """

    def __init__(self, file: Path, limits: Limits, manifest: Manifest) -> None:
        super().__init__(self._started, keep=0)
        self._file = file
        self._limits = limits
        self._manifest = manifest

    def _started(self) -> WasmGuest:
        machine = engine_for(self._limits)
        module = machine.module(self._file)
        insist(problems_of(module, self._manifest, str(self._file)))
        return WasmGuest(machine, module, self._limits, self._manifest.id)


def engine_for(limits: Limits) -> Engine:
    """The engine for a guest's limits."""
    largest = Settings().stack
    return engine(Settings(stack=min(largest, max(64 << 10, limits.stack or largest))))


def problems_of(module: wasmtime.Module, manifest: Manifest, file: str) -> Iterable[Problem]:
    """Why a module cannot be a plugin of this manifest."""
    yield from refused(module, IMPORTS, manifest.permissions, file)
    yield from lacking(module, EXPORTS, file)
