"""Is a flow's code what this process has, or would import? Code of an older version cannot be taken out of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflare_host.manifest import Manifest
    from dataflare_pipeline.session import Session


def others(session: Session) -> list[str]:
    """The plugins of a flow of which this process has the code of another version."""
    plugins = session.host.table(session.generation).plugins
    used = sorted({step.plugin for step in session.plan.steps.values()} & {*plugins})
    return [id for id in used if plugins[id].loader == "python" and not _is_here(plugins[id])]


def _is_here(manifest: Manifest) -> bool:
    try:
        spec = importlib.util.find_spec(manifest.package)
    except (ImportError, ValueError):
        return True  # loading it says what is wrong
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    wanted = Path(manifest.file).parent.resolve()
    return not folders or wanted in {Path(folder).resolve() for folder in folders}
