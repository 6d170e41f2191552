"""What the code of a plugin needs to run: where its modules are found, and which distributions it requires."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name


@dataclass(frozen=True)
class Needs:
    """``folder`` has the plugin's package and little else; ``links`` are what a folder of its own has to link to."""

    folder: Path
    requirements: tuple[str, ...] = ()
    links: tuple[Path, ...] = ()


def needs_of(package: Path) -> Needs:
    """The needs of a plugin by its package's folder: unpacked from its wheel, installed, or in its source tree."""
    folder = package.parent
    wanted = canonicalize_name(package.name)
    for info in folder.glob("*.dist-info"):
        found = metadata.PathDistribution(info)
        files = found.files or []
        if canonicalize_name(info.name.partition("-")[0]) == wanted or any(f.parts[0] == package.name for f in files):
            others = [each for each in folder.glob("*.dist-info") if each != info]
            links = _links(folder, found) if others else ()
            return Needs(folder, tuple(found.requires or ()), links)
    for project in (package, folder, folder.parent):
        file = project / "pyproject.toml"
        if file.is_file():
            told = tomllib.loads(file.read_text("utf-8")).get("project", {})
            return Needs(folder, tuple(told.get("dependencies", ())))
    return Needs(folder)


def _links(folder: Path, distribution: metadata.Distribution) -> tuple[Path, ...]:
    """The plugin's own among many in one folder, as in an interpreter's ``site-packages``."""
    names = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    return tuple(folder / name for name in sorted(names))
