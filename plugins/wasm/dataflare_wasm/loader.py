"""The loader ``wasm``: plugins that are core modules with the exports of the guest protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Failed, Problem
from dataflare.hosting import Guests, Limits, Transport, component_classes
from dataflare_host.kinds import Loader
from dataflare_wasm.engine import Engine, Settings, engine
from dataflare_wasm.exchange import IMPORTS
from dataflare_wasm.guest import EXPORTS, WasmGuest
from dataflare_wasm.imports import insist, lacking, refused
from dataflare_wasm.sandbox import MEMORY, START

if TYPE_CHECKING:
    import wasmtime

    from dataflare.component import Component
    from dataflare_host.host import HostApi
    from dataflare_host.manifest import Manifest

TABLE = "components.json"
ENTRY = "plugin.wasm"


class Wasm(Loader):
    """Runs WASM modules that speak the guest protocol."""

    def components(self, manifest: Manifest, host: HostApi) -> list[type[Component]]:
        """The component classes of a plugin: from its table, else its module is asked."""
        file, limits = entry_of(manifest), Limits.of(manifest.limits, host.limits(manifest.id))
        guests = Instances(file, limits, manifest)
        told = table_of(manifest)
        return component_classes(described(guests, manifest.id) if told is None else told, guests, limits, manifest.id)

    def audit(self, artifact: Path, manifest: Manifest) -> Iterable[Problem]:
        """What the module imports beyond its manifest, and what it lacks. Compiles it into the cache."""
        try:
            module = engine_for(Limits.of(manifest.limits)).module(artifact)
        except ConfigError as error:
            return error.problems
        return list(problems_of(module, manifest, str(artifact)))


class Instances(Guests):
    """The instances of one plugin's module. Compiled and checked when the first is needed."""

    def __init__(self, file: Path, limits: Limits, manifest: Manifest) -> None:
        super().__init__(self._started)
        self._file = file
        self._limits = limits
        self._manifest = manifest

    def give_back(self, transport: Transport) -> None:
        """Kept for the next, unless its memory has grown: that never shrinks again."""
        assert isinstance(transport, WasmGuest)
        if transport.memory > (self._limits.memory or MEMORY) // 4:
            transport.close()
        else:
            super().give_back(transport)

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


def entry_of(manifest: Manifest) -> Path:
    """The module's file. Raises ConfigError ``plugin.entry_outside`` for one outside of the plugin's package."""
    folder = Path(manifest.file).resolve().parent
    file = (folder / (manifest.entry or ENTRY)).resolve()
    if not file.is_relative_to(folder):
        message = f"the entry `{manifest.entry}` of `{manifest.id}` is outside of its package"
        raise ConfigError.of("plugin.entry_outside", message, file=manifest.file, pointer="/runtime/entry")
    return file


def table_of(manifest: Manifest) -> Mapping[str, Any] | None:
    """The answer to ``describe`` that was kept at the build, where there is one."""
    try:
        told = json.loads((Path(manifest.file).parent / TABLE).read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def described(guests: Guests, plugin: str) -> Mapping[str, Any]:
    """What a plugin says of itself. Raises ConfigError, GuestLost, what the guest answers with."""
    from dataflare.guest.frames import Frame
    from dataflare.guest.remote import error_of

    transport = guests.take()
    answer = transport.call(Frame({"op": "describe"}), _nobody, START)
    guests.give_back(transport)
    if "error" in answer.header:
        raise error_of(answer.header["error"])
    return answer.header


def _nobody(question: Any) -> Any:
    from dataflare.errors import problem_of
    from dataflare.guest.frames import Frame

    if question.header.get("op") in ("log", "metric"):
        return Frame({})
    error = Failed.of("guest.no_host", f"nobody answers `{question.header.get('op')}` here")
    return Frame({"error": problem_of(error).as_json()})
