"""Which releases are not chosen: those that are too fresh for this project.

What is fresh may be harmful and not known to be. The set says how long releases rest before they are chosen::

    [choice]
    rest = "72h"

What is locked already, and what is asked for by its exact version, need not rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_author.project_set import FILE, ProjectSet

if TYPE_CHECKING:
    from dataflare_index.trusted import Trusted

Json = Any
TABLE = "choice"


def rest_of(project: Path) -> timedelta:
    """How long releases rest in a project. Raises ConfigError ``set.rest``."""
    from dataflare.types import parse_duration

    told = ProjectSet(project).table(TABLE)
    unknown = sorted({*told} - {"rest"})
    try:
        if not unknown:
            return timedelta(seconds=parse_duration(told.get("rest", "0s")))
        cause = f"it has `{unknown[0]}`"
    except (ValueError, TypeError, OverflowError, ConfigError) as error:
        cause = str(error)
    message = f"`[{TABLE}]` of the set cannot be understood"
    fix = 'write `rest = "72h"`: how old a release has to be before it is chosen'
    raise ConfigError.of("set.rest", message, cause=cause, file=str(project / FILE), pointer=f"/{TABLE}", fix=fix)


def too_fresh(told: Mapping[str, Json], rest: timedelta, index: Trusted) -> str | None:
    """Why a release has to wait; None where it need not. All of its files have to be old enough."""
    if not rest:
        return None
    try:
        newest = max(datetime.fromisoformat(file["published"]) for file in told["files"].values())
        return None if index.now() - newest >= rest else f"published {newest:%Y-%m-%d %H:%M}, and releases rest {rest}"
    except (KeyError, TypeError, ValueError):
        return "nothing says when it was published"
