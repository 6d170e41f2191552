"""The loader ``js``: component classes of a plugin that is one JavaScript file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dataflare import field
from dataflare.errors import ConfigError, DataflareError, Problem
from dataflare_host.kinds import Loader

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.hosting import Limits
    from dataflare_host.host import HostApi
    from dataflare_host.manifest import Manifest
    from dataflare_js.guest import Bundle

LARGEST = 16 << 20
"""Bytes that a script, and its source map, may have."""


class JavaScript(Loader, name="js"):
    """Runs plugins written in JavaScript or TypeScript."""

    engine: Literal["starling", "quickjs"] | None = field(
        default=None, help="The engine; by default what `DATAFLARE_JS_ENGINE` names, else the fastest that is there."
    )

    def components(self, manifest: Manifest, host: HostApi) -> list[type[Component]]:
        """The component classes of a plugin: from its table, else its script is asked. Raises ConfigError."""
        from dataflare.hosting import Limits, component_classes
        from dataflare_js.guest import Instances
        from dataflare_wasm.package import asked, entry_of, table_of

        limits = Limits.of(manifest.limits, host.limits(manifest.id))
        file = entry_of(manifest if manifest.entry else replace(manifest, entry="plugin.js"))
        guests = Instances(self._bundle(file, manifest.id, limits))
        return component_classes(table_of(manifest) or asked(guests, manifest.id), guests, limits, manifest.id)

    def audit(self, artifact: Path, manifest: Manifest) -> Iterable[Problem]:
        """Whether the script loads in the engine. It imports nothing: what it wants, it asks the host for."""
        from dataflare.hosting import Limits
        from dataflare_js.guest import JavaScriptGuest

        try:
            JavaScriptGuest(self._bundle(artifact, manifest.id, Limits.of(manifest.limits))).close()
        except DataflareError as error:
            return error.problems
        return ()

    def _bundle(self, file: Path, plugin: str, limits: Limits) -> Bundle:
        from dataflare_js.engines import choose
        from dataflare_js.guest import Bundle
        from dataflare_js.places import Places
        from dataflare_wasm.loader import engine_for

        script = _read(file)
        if script is None:
            fix = "build the plugin, or correct `entry` of its manifest"
            raise ConfigError.of("js.missing", f"the script `{file.name}` of `{plugin}` is missing", fix=fix)
        places, chosen = Places(_read(file.with_name(f"{file.name}.map"))), choose(self.engine)
        machine, memory = engine_for(limits), chosen.memory(limits.memory)
        return Bundle(plugin, script, places, machine, chosen.module(machine), memory, limits)


def _read(file: Path) -> bytes | None:
    if not file.is_file():
        return None
    if (size := file.stat().st_size) > LARGEST:
        message = f"`{file.name}` has {size:,} bytes, more than {LARGEST:,}"
        raise ConfigError.of("js.too_large", message, fix="bundle less into it, minified")
    content = file.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError.of("js.encoding", f"`{file.name}` is not UTF-8", cause=str(error)) from error
    return content
