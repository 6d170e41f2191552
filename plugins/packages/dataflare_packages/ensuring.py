"""Makes the environments of a lock in a folder: for a plan that goes to another machine, or before a first run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_packages.changing import lock_that_agrees
from dataflare_packages.lockfile import Lock
from dataflare_packages.pylocks import file_of
from dataflare_packages.withdrawn import refuse

if TYPE_CHECKING:
    from dataflare_host.plan import Plan
    from dataflare_worker.environments import Recipe

Json = Any


def ensure(plan: Path, folder: Path, project: Path | None) -> dict[str, Json]:
    """Make what a plan, or the lock of a flow file, needs; ``{"lock", "environments"}``. Raises ConfigError."""
    from dataflare_packages.holding import hold_plan
    from dataflare_worker.environments import Environments

    planned = _plan_in(plan)
    home = project or (Path(planned.base) if planned else plan.absolute().parent)
    lock = lock_that_agrees(home)
    refuse(lock, home)
    if planned is not None:
        hold_plan(planned, home)
        if planned.lock and planned.lock != lock.digest():
            message = "the plan was made by another lock"
            fix = "plan again by `dataflare run FLOW --locked --plan-only`"
            raise ConfigError.of("lock.plan", message, file=str(plan), fix=fix)
    environments = Environments(folder)
    made: list[dict[str, Json]] = []
    for recipe in _recipes(lock, home, {step.plugin for step in planned.steps.values()} if planned else None):
        python, fresh = environments.ready(recipe, check=True)
        told = {"plugin": recipe.plugin, "kind": "worker" if recipe.plugin else "inline", "made": fresh}
        pylock = lock.pylocks().get(recipe.plugin)
        made.append({**told, "pylock": pylock, "folder": str(python.parents[1]), "python": str(python)})
    return {"lock": lock.digest(), "environments": made}


def _recipes(lock: Lock, project: Path, used: set[str] | None) -> Iterator[Recipe]:
    """What is to be made: for the plugins in workers that are used, None: all, and for those that run inline."""
    from dataflare_worker.environments import Recipe
    from dataflare_worker.lent import SDK

    for name, locked in sorted(lock.plugins.items()):
        if locked.isolation == "worker" and (used is None or name in used):
            pylock = project / file_of(name) if locked.pylock else None
            yield Recipe.of(name, [SDK, *locked.needs], pylock)
    if lock.inline:
        yield Recipe.inline(project / file_of(""))


def _plan_in(file: Path) -> Plan | None:
    """The plan that a file holds; None for a flow file. Raises ConfigError ``lock.plan``."""
    from dataflare_host.plan import Plan

    try:
        text = file.read_text("utf-8")
        return Plan.from_json(json.loads(text)) if text.lstrip().startswith("{") else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{file} holds neither a plan nor a flow"
        fix = "give what `dataflare run FLOW --plan-only` prints"
        raise ConfigError.of("lock.plan", message, cause=str(error), file=str(file), fix=fix) from error
