"""What is installed here, read from the disk, or remembered from the last time.

What was read is kept by folder and by file with their time stamps, so that start-up costs neither a scan of all
metadata nor the parsing of all manifests. A memory that cannot be read is ignored.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dataflare_host.manifest import CONTRACT, VERSION, Manifest

GROUP = "dataflare.plugins"
ROOTS = ("dataflare", "dataflare-host")
"""The distributions whose requirements, and those of their extras, DataFlare itself answers for."""
_MADE_BY = [5, CONTRACT, VERSION, sys.version]
_METADATA = (".dist-info", ".egg-info")
_SETTLED = 2.0
"""Seconds after which a folder's time stamp is trusted: a change within the clock's grain would go unseen."""


class Claim(NamedTuple):
    """A distribution says that ``package`` is the plugin ``id``.

    ``local``: it came from this machine, not from an index. ``requires``: the distributions that it asks for.
    """

    id: str
    package: str
    distribution: str
    version: str
    local: bool = True
    requires: Sequence[str] = ()


@dataclass
class Installed:
    """What was read before, with the time stamps that say whether it still holds."""

    file: Path
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    ranges: dict[str, bool] = field(default_factory=dict)
    changed: bool = False
    _roots: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def remembered(cls) -> Installed:
        """What this interpreter read before; nothing, where that was another version's or is damaged."""
        file = _file()
        try:
            given = json.loads(file.read_bytes())
            if given["made_by"] != _MADE_BY:
                return cls(file)
            for kept in given["folders"].values():
                kept["claims"] = [Claim(*claim) for claim in kept["claims"]]
            for kept in given["files"].values():
                kept["manifest"] = Manifest.from_json(kept["manifest"])
            return cls(file, given["folders"], given["files"], dict(given["ranges"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls(file)

    def claims(self, folder: str) -> list[Claim]:
        """The claims of the distributions whose metadata lie in a folder (or zip file) of the path."""
        try:
            stamp = os.stat(folder).st_mtime_ns
            kept = self.folders.get(folder)
            if kept is not None and kept["stamp"] == stamp:
                return list(kept["claims"])
            # Most folders hold no distribution: listing them is cheaper than the import that scanning needs.
            if os.path.isdir(folder) and not any(name.endswith(_METADATA) for name in os.listdir(folder)):
                return []
        except OSError:
            return []
        claims, roots = _scan(folder)
        self._roots[folder] = roots
        self._keep(self.folders, folder, {"stamp": stamp, "claims": claims, "roots": roots})
        return claims

    def required(self, folders: Iterable[str]) -> set[str]:
        """What DataFlare's own distributions in these folders, whose claims were read, ask for."""
        return {
            name
            for folder in folders
            for name in self._roots.get(folder, self.folders.get(folder, {}).get("roots", ()))
        }

    def manifest(self, file: Path, package: str) -> Manifest:
        """The manifest in a file. Raises ConfigError with every problem; a faulty file is read again each time."""
        try:
            stat = file.stat()
            now = {"stamp": stat.st_mtime_ns, "size": stat.st_size, "package": package}
        except OSError:
            now = {"stamp": time.time_ns()}
        kept = self.files.get(str(file), {})
        if now != {key: kept.get(key) for key in now}:
            from dataflare_host.read_manifest import load_manifest

            kept = {**now, "manifest": load_manifest(file, package)}
            self._keep(self.files, str(file), kept)
        return kept["manifest"]  # type: ignore[no-any-return]

    def admits(self, wanted: str, version: str) -> bool:
        """Is the version in the range?"""
        key = f"{wanted} {version}"
        if key not in self.ranges:
            from dataflare_host.read_manifest import admits

            self.ranges[key] = bool(admits(wanted, version))
            self.changed = True
        return self.ranges[key]

    def _keep(self, kept: dict[str, dict[str, Any]], key: str, value: dict[str, Any]) -> None:
        if time.time() - value["stamp"] / 1e9 < _SETTLED:
            self.changed |= kept.pop(key, None) is not None
            return
        kept[key] = value
        self.changed = True

    def save(self) -> None:
        """Write what is new; a cache that cannot be written costs time, nothing else."""
        if not self.changed:
            return
        path = {os.path.abspath(entry) for entry in sys.path}
        folders = {folder: kept for folder, kept in self.folders.items() if folder in path}
        files = {
            file: {**kept, "manifest": kept["manifest"].as_json()}
            for file, kept in self.files.items()
            if os.path.exists(file)
        }
        value = {"made_by": _MADE_BY, "folders": folders, "files": files, "ranges": self.ranges}
        aside = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(value, default=str), "utf-8")
            os.replace(aside, self.file)
        except OSError:
            with suppress(OSError):
                aside.unlink()


def _scan(folder: str) -> tuple[list[Claim], list[str]]:
    """The claims in a folder, and what DataFlare's own distributions there ask for."""
    import importlib.metadata

    from dataflare_host.origin import is_local, plain, required

    claims = []
    for found in importlib.metadata.distributions(path=[folder]):
        if GROUP in (found.read_text("entry_points.txt") or ""):
            name = plain(str(found.metadata["Name"]))
            told = (name, str(found.version), is_local(found, name), required(found))
            claims += [Claim(entry.name, entry.value, *told) for entry in found.entry_points.select(group=GROUP)]
    owned = [found for root in ROOTS for found in importlib.metadata.distributions(name=root, path=[folder])]
    return claims, [name for found in owned for name in required(found)]


def _file() -> Path:
    """One file an interpreter's prefix, below ``$DATAFLARE_CACHE`` or the user's cache folder."""
    import zlib

    usual = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dataflare")
    return Path(os.environ.get("DATAFLARE_CACHE") or usual) / f"plugins-{zlib.crc32(sys.prefix.encode()):08x}.json"
