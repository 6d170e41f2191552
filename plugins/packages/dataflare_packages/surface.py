"""What of a plugin its users see and build on: of a wheel, a package's folder, or a release of an index."""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_author.wheel_check import read_wheel
from dataflare_host.manifest import FILE

if TYPE_CHECKING:
    from dataflare_index.trusted import Trusted

Json = Any
TABLE = "components.json"
_TYPES = {"config": dict, "abilities": dict, "aliases": list, "operations": list, "version": int}


@dataclass(frozen=True)
class Surface:
    """One version of a plugin. ``components``: ``kind/name`` → what ``describe`` says of it."""

    id: str
    version: str
    manifest: Mapping[str, Json] = field(repr=False)
    components: Mapping[str, Mapping[str, Json]] = field(repr=False)

    @classmethod
    def of(cls, manifest: bytes, table: bytes | None) -> Surface:
        """From the bytes of its files. Raises ConfigError ``diff.plugin``."""
        try:
            told = tomllib.loads(manifest.decode())
            plugin, described = told["plugin"], json.loads(table or b'{"components": []}')["components"]
            components = {f"{each['kind']}/{each['name']}": _sound(each) for each in described}
            named = {
                f"{kind}/{name}": {"kind": kind, "name": name}
                for kind, names in told.get("components", {}).items()
                for name in names
            }
            return cls(plugin["id"], plugin["version"], told, {**named, **components})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            cause = f"{type(error).__name__}: {error}"
            raise ConfigError.of("diff.plugin", "these are not the files of a plugin", cause=cause) from error


def surface_of(given: str, project: Path) -> Surface:
    """Of a wheel, a package's folder, or ``NAME@VERSION`` in an index that the project trusts.

    Raises ConfigError ``diff.plugin``, ``author.wheel``, ``index.unknown``; Failed ``index.…``.
    """
    path = Path(given)
    if path.is_dir():
        return _of_folder(path)
    if path.suffix == ".whl":
        return _of_wheel(path)
    name, at, version = given.partition("@")
    if not at:
        message = f"`{given}` is no wheel, no folder and no NAME@VERSION"
        raise ConfigError.of("diff.plugin", message, fix="name two versions of a plugin, say dist/… and geo@1.2.0")
    return _of_index(name, version, project)


def _sound(described: Mapping[str, Json]) -> Mapping[str, Json]:
    """What ``describe`` says of a component, where its parts are of the right types. Raises TypeError."""
    for word, kind in _TYPES.items():
        if not isinstance(described.get(word, kind()), (kind, type(None))):
            raise TypeError(f"`{word}` of `{described['name']}` is {described[word]!r}")
    return described


def _of_folder(folder: Path) -> Surface:
    wheels = sorted(folder.glob("dist/*.whl"))
    if not (folder / TABLE).exists() and len(wheels) == 1:
        return _of_wheel(wheels[0])
    if not (folder / FILE).exists():
        message = f"`{folder}` holds no {FILE}"
        raise ConfigError.of("diff.plugin", message, fix="build it (`dataflare plugin build`) and name its wheel")
    table = folder / TABLE
    return Surface.of((folder / FILE).read_bytes(), table.read_bytes() if table.exists() else None)


def _of_wheel(path: Path) -> Surface:
    wheel = read_wheel(path)
    files, package = wheel.files, wheel.names.package
    return Surface.of(files[f"{package}/{FILE}"], files.get(f"{package}/{TABLE}"))


def _of_index(name: str, version: str, project: Path) -> Surface:
    from dataflare_index.trusted import some_indexes_of

    return surface_in(some_indexes_of(project), name, version)


def surface_in(indexes: Iterable[Trusted], name: str, version: str, pinned: str = "") -> Surface:
    """Of a release, from the one index that has the plugin, or the ``pinned`` one. Raises as ``surface_of``."""
    from dataflare_index.trusted import holder_of

    index, listed = holder_of(indexes, name, pinned)
    release = listed.releases.get(version)
    if release is None:
        have = ", ".join(listed.versions())
        raise ConfigError.of("index.unknown", f"`{index.name}` has no `{name}` {version}", fix=f"it has {have}")
    with tempfile.TemporaryDirectory(prefix="dataflare-diff-") as folder:
        file = min(release["files"])
        return _of_wheel(index.wheel(name, file, Path(folder) / file))
