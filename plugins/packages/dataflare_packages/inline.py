"""The interpreter that the flows of a project run in by its lock: this one, or that of an environment of the lock.

Plugins that run in the host's own process may need other distributions. Where these are not here in the locked
versions, an environment has them beside the host with all its plugins, which this interpreter lends.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError
from dataflare_packages.lockfile import Lock, read_lock
from dataflare_packages.pylocks import file_of

Json = Any
KEY = "inline"
"""What ``installed.json`` calls it: prefix of an interpreter → the environment that is made for it."""


def prepared(lock: Lock, project: Path, before: Mapping[str, Json]) -> dict[str, Json]:
    """What is to be noted of a project's environments, this interpreter's made at need and checked.

    Raises ConfigError ``worker.environment``.
    """
    others = {prefix: dict(each) for prefix, each in before.items() if each.get("pylock") == lock.inline}
    if not lock.inline or lies_here(project):
        return others
    from dataflare_worker.environments import Environments, Recipe

    python, _ = Environments().ready(Recipe.inline(project / file_of("")), check=True)
    return {**others, sys.prefix: {"folder": str(python.parents[1]), "pylock": lock.inline}}


def interpreter_of(project: Path) -> Path | None:
    """The interpreter for a project's flows by its lock; None: this one. Raises ConfigError ``lock.not_synced``."""
    lock = read_lock(project)
    if lock is None or not lock.inline:
        return None
    from dataflare_packages.installing import installed_of
    from dataflare_worker.environments import is_sound, use

    made = installed_of(project).get(KEY, {}).items()
    folders = {prefix: Path(each["folder"]) for prefix, each in made if each["pylock"] == lock.inline}
    if Path(sys.prefix) in folders.values() or lies_here(project):
        return None
    folder = folders.get(sys.prefix)
    if folder is None and len(folders) == 1 and is_sound(Path(sys.prefix)):
        (folder,) = folders.values()  # this process is in the environment of an earlier lock
    if folder is None or not is_sound(folder):
        message = "what the inline plugins need is not here as it is locked"
        fix = f"`dataflare plugin sync --locked --project {project}`"
        raise ConfigError.of("lock.not_synced", message, fix=fix)
    use(folder, by_successors=True)
    return folder / "bin" / "python"


def lies_here(project: Path) -> bool:
    """Does this interpreter have all that the pylock of the inline plugins names, in just these versions?"""
    from packaging.markers import Marker

    from dataflare_worker.pylock import packages_in

    try:
        packages = packages_in((project / file_of("")).read_bytes())
    except (OSError, ValueError):
        return False
    return all(
        _version(each["name"]) == each.get("version")
        for each in packages
        if "marker" not in each or Marker(each["marker"]).evaluate()
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
