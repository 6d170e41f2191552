"""Where the wheels that a lock names are found: in the cache of this user, in a folder, in the index they came from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.errors import ConfigError
from dataflare_packages.lockfile import Locked, LockedFile

if TYPE_CHECKING:
    from dataflare_index.trusted import Trusted


class Wheels:
    """Finds wheels by digest. ``offline``: no index is asked; ``folders`` are looked into first."""

    def __init__(self, project: Path, *, offline: bool = False, folders: Sequence[Path] = ()) -> None:
        self._project = project
        self._offline = offline
        self._folders = folders
        self._indexes: dict[str, Trusted] | None = None

    def __call__(self, plugin: str, locked: Locked, file: LockedFile) -> Path:
        """The wheel. Raises ConfigError ``lock.no_wheel``, ``lock.no_index``, NotTrusted."""
        kept = cache() / file.sha256 / file.name
        for place in (*(folder / file.name for folder in self._folders), kept):
            if place.is_file() and hashlib.sha256(place.read_bytes()).hexdigest() == file.sha256:
                return place
        if self._offline:
            message = f"`{file.name}` is not here, and no index is asked"
            raise ConfigError.of("lock.no_wheel", message, fix="sync once with the index in reach, or bring a bundle")
        index = self._index(locked.index)
        kept.parent.mkdir(parents=True, exist_ok=True)
        return index.wheel(plugin, file.name, kept, file.sha256, file.size)

    def _index(self, name: str) -> Trusted:
        if self._indexes is None:
            from dataflare_index.trusted import indexes_of

            self._indexes = {index.name: index for index in indexes_of(self._project)}
        if name not in self._indexes:
            message = f"the lock names the index `{name}`, which this project does not trust"
            raise ConfigError.of("lock.no_index", message, fix="trust it by `dataflare index trust`")
        return self._indexes[name]


def cache() -> Path:
    """Below ``$DATAFLARE_CACHE`` or the user's cache folder."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dataflare")
    return Path(os.environ.get("DATAFLARE_CACHE") or usual).absolute() / "wheels"
