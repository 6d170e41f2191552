"""Holds a run to its lock: what is installed and used is what is locked, and nothing is looked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.errors import ConfigError
from dataflare_packages.changing import lock_that_agrees
from dataflare_packages.inline import interpreter_of
from dataflare_packages.installing import damaged, installed_of
from dataflare_packages.withdrawn import refuse

if TYPE_CHECKING:
    from dataflare_host.host import HostApi
    from dataflare_host.plan import Plan


def hold(project: Path, host: HostApi) -> None:
    """Refuse unless set, lock, what is installed and this interpreter agree, and nothing is known against the lock.

    Raises ConfigError ``lock.none``, ``lock.set_differs``, ``lock.pylock``, ``lock.not_synced``,
    ``lock.host_differs``, ``lock.interpreter``, NotTrusted ``lock.withdrawn``.
    """
    lock, installed = lock_that_agrees(project), installed_of(project)
    refuse(lock, project)
    if (python := interpreter_of(project)) is not None:
        message = "this process runs in another environment than the lock says for its inline plugins"
        raise ConfigError.of(
            "lock.interpreter", message, cause=f"it says {python}", fix="stop the flow, and run it anew"
        )
    needed = {name: each for name, each in lock.plugins.items() if each.index}
    fix = f"`dataflare plugin sync --locked --project {project}`"
    if (needed or installed) and installed.get("lock") != lock.digest():
        message = "what is installed is not what is locked"
        raise ConfigError.of("lock.not_synced", message, fix=fix)
    for name, told in installed.get("plugins", {}).items():
        if wrong := damaged(project / told["folder"]):
            message = f"`{name}` was changed since it was installed: `{wrong[0]}`"
            raise ConfigError.of("lock.not_synced", message, fix=fix)
    have = host.table().plugins
    for name, version in lock.host.items():
        if name not in have or have[name].version != version:
            is_ = have[name].version if name in have else "missing"
            message = f"`{name}` of this interpreter is {is_}, the lock says {version}"
            fix = f"install `dataflare-{name}=={version}` here, or lock again"
            raise ConfigError.of("lock.host_differs", message, fix=fix)


def hold_plan(plan: Plan, project: Path) -> Plan:
    """The plan, which now names its lock. Raises ConfigError ``lock.not_locked``: there are plugins not of the lock."""
    lock = lock_that_agrees(project)
    for name, step in plan.steps.items():
        plugin, slash, _ = step.uses.partition("/")
        if not slash or plugin.endswith(".py") or "." in plugin or plugin in lock.plugins or plugin in lock.host:
            continue
        message = f"`{name}` uses `{step.uses}`, and the lock has no `{plugin}`"
        fix = f"`dataflare plugin add {plugin} --project {project}`"
        raise ConfigError.of("lock.not_locked", message, fix=fix)
    return replace(plan, lock=lock.digest()).digested()
