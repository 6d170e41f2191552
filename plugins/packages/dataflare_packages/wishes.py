"""What a project wants: the plugins that its set names, each with a range, or with the files it was added from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError
from dataflare_author.project_set import FILE, ProjectSet

Json = Any


@dataclass(frozen=True)
class Wish:
    """One plugin of a set. ``folder``: where it was unpacked, if it was added from a file; ``grants``: the operator's.

    ``index``: the only one that it may come from, where the operator says so.
    """

    name: str
    wanted: str = ""
    index: str = ""
    prereleases: bool = False
    folder: str = ""
    digest: str = ""
    isolation: str = ""
    grants: Mapping[str, list[dict[str, Json]]] = field(default_factory=dict)


def wishes_of(project: Path) -> dict[str, Wish]:
    """What the set of a project names. Raises ConfigError ``author.set``, ``set.wish``."""
    return {name: _wish(name, told, project) for name, told in sorted(ProjectSet(project).entries().items())}


def _wish(name: str, told: Mapping[str, Json], project: Path) -> Wish:
    words = {key: told[key] for key in ("index", "folder", "digest", "isolation") if key in told}
    wrong = [key for key, value in words.items() if not isinstance(value, str)]
    wanted, early = told.get("version", ""), told.get("prereleases", False)
    if wrong or not isinstance(wanted, str) or not isinstance(early, bool):
        message = f"`{name}` of the set says {wrong[0] if wrong else 'version or prereleases'} in a wrong way"
        place = {"file": str(project / FILE), "pointer": f"/plugins/{name}"}
        raise ConfigError.of("set.wish", message, fix='write `version = ">=1.2,<2"`', **place)
    return Wish(name, wanted, prereleases=early, grants=told.get("grants", {}), **words)
