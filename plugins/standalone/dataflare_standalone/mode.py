"""The mode `standalone`: a flow in one process, with nothing beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Problem
from dataflare.fields import field
from dataflare.types import Bytes
from dataflare_host.kinds import Budget, Engine, Mode, Outcome, Runner
from dataflare_host.layout import layout_of

if TYPE_CHECKING:
    from dataflare_host.host import HostApi
    from dataflare_host.plan import Plan


class Standalone(Mode, takeover="host", shares_files=True, ships=False):
    """Run the whole flow in this process."""

    memory: Bytes | None = field(default=None, help="How much memory the channels between lanes may take, at most.")
    cores: float | None = field(
        default=None, help="How many lanes a source gets that asks for none; default: all cores."
    )

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._ready = threading.Event()
        self._runner: Runner | None = None

    def check(self, plan: Plan, host: HostApi) -> Iterable[Problem]:
        """Steps that must be placed elsewhere cannot run here."""
        for step in plan.steps.values():
            if step.place:
                yield Problem(
                    "plan.placement",
                    f"`{step.name}` must run where {step.place}, but this mode has one place only",
                    pointer=f"{step.pointer}/place",
                    fix="remove `place`, or choose a mode that places steps",
                )

    def run(self, plan: Plan, host: HostApi) -> Outcome:
        """Run the flow to its end, to a stop or to a failure."""
        try:
            engine = host.component(plan.engine["uses"], plan.engine.get("with", {}), "engine")
            assert isinstance(engine, Engine)
            lanes = {name: step.lanes or 1 for name, step in plan.steps.items()}
            (part,) = layout_of(plan, lanes).cut(plan, 1)
            self._runner = engine.runner(part, host, None, Budget(self.memory, self.cores))
        finally:
            self._ready.set()  # also where it failed: whoever waits with a command is told so
        return self._runner.run()

    def command(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        """A command to the runner of this process."""
        if not self._ready.wait(30) or self._runner is None:
            raise ConfigError.of(
                "run.not_started", "the flow has not started yet", kind="retry", fix="ask again in a moment"
            )
        return self._runner.command(name, args)
