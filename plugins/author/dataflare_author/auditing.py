"""Asks a plugin's loader whether its code would need more than its manifest asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    from dataflare_host.host import HostApi
    from dataflare_host.kinds import Loader
    from dataflare_host.manifest import Manifest


def loader_of(runtime: str, host: HostApi) -> Loader | None:
    """The loader of a runtime, where one is installed."""
    for entry in host.table().entries("loader", loading=False):
        if entry.name == runtime:
            return cast("Loader", host.component(entry.uses, {}, "loader"))
    return None


def audit(manifest: Manifest, host: HostApi, runtime: str | None = None) -> bool:
    """Let the loader look at a plugin's package. False: none is installed. Raises ConfigError with what it refuses."""
    loader = loader_of(runtime or manifest.runtime, host)
    if loader is None:
        return False
    folder = Path(manifest.file).parent
    problems = list(loader.audit(folder / manifest.entry if manifest.entry else folder, manifest))
    if problems:
        raise ConfigError(*problems)
    return True
