"""A flow that is held to its lock: the interpreter and the plan of a new process are those of the lock, too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflare_host.host import HostApi
    from dataflare_host.plan import Plan


def interpreter(plan: Plan) -> Path:
    """What a new process of the flow runs in. Raises ConfigError ``lock.not_synced``."""
    if plan.lock:
        from dataflare_packages.inline import interpreter_of

        if (found := interpreter_of(Path(plan.base))) is not None:
            return found
    return Path(sys.executable)


def planned(old: Plan, host: HostApi) -> Plan:
    """The same flow planned anew, with what its lock says where it is held to one. Raises ConfigError (``lock.…``)."""
    base = Path(old.base)
    if not old.lock:
        return host.plan(old.flow, base=base)
    from dataflare_packages.holding import hold, hold_plan

    hold(base, host)
    return hold_plan(host.plan(old.flow, base=base), base)
