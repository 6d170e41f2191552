"""Watches a plugin's folder: at each change it is built, added to a project, and handed to the flows that run there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, DataflareError, Failed, Problem

if TYPE_CHECKING:
    from dataflare_author.adding import Added
    from dataflare_host.host import HostApi

Json = Any
NOT_WATCHED = {"build", "dist", "node_modules", "__pycache__"}
"""What building makes; names that begin with a dot, or end with ``.egg-info``, are not watched either."""
WHOLE = {"reload.guarantee", "reload.inline", "reload.plan"}
"""Why one plugin alone cannot change over: then the whole flow goes on by a new plan."""
PATIENCE = 120.0
"""Seconds in which a new version has proved itself in a flow, or not."""


@dataclass(frozen=True)
class Round:
    """What came of one change. ``flows``: name → ``kept``, ``rolled_back``, ``refused`` or ``reloaded``."""

    added: Added | None = None
    flows: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def once(path: Path, project: Path, grant: bool, host: HostApi) -> Round:
    """Build and add a plugin, and let the flows that run in the project take it. Never raises DataflareError."""
    from dataflare_author.adding import add
    from dataflare_author.building import build
    from dataflare_author.folder import folder_at

    try:
        folder = folder_at(path)
        added = add(build(folder, host).wheel, project, None, grant, host)
    except DataflareError as error:
        return Round(problems=error.problems)
    if not added.granted:
        return Round(added)
    flows: dict[str, str] = {}
    problems: list[Problem] = []
    for name in _running(project):
        try:
            told = _handed(project, name, added.plugin)
        except DataflareError as error:
            problems += error.problems
            told = "refused"
        if told is not None:
            flows[name] = told
    return Round(added, flows, tuple(problems))


def changes(path: Path) -> Iterator[None]:
    """Something that matters has changed in a folder; ends at SIGINT."""
    from watchfiles import watch

    def matters(_change: object, changed: str) -> bool:
        parts = Path(changed).relative_to(path).parts
        return not any(part in NOT_WATCHED or part[0] == "." or part.endswith(".egg-info") for part in parts)

    for _ in watch(path, watch_filter=matters, raise_interrupt=False):
        yield None


def _running(project: Path) -> list[str]:
    from dataflare_host.control import flows_in

    return [str(hello["flow"]) for hello in flows_in(project)]


def _handed(project: Path, flow: str, plugin: str) -> str | None:
    """What a flow made of a plugin's new version; None where it does not use it, or has it already."""
    from dataflare_host.control import connected

    with connected(project, flow) as line:
        line.patience(PATIENCE)
        try:
            told = line.ask("swap", {"plugin": plugin, "version": None})
        except DataflareError as error:
            if error.code in ("reload.not_used", "reload.same"):
                return None
            if error.code not in WHOLE:
                raise
            return "reloaded" if line.ask("reload", {})["reloaded"] else "refused"
    if told["outcome"] != "kept":
        raise _not_kept(told["problem"])
    return "kept"


def _not_kept(told: dict[str, Json] | None) -> DataflareError:
    if told is None:
        return Failed.of("reload.failed", "the new version did not stay")
    return ConfigError(Problem.from_json(told))
