"""What all regions of a running part share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dataflare.component import Component
from dataflare.context import Context
from dataflare.errors import Problem
from dataflare.grants import services
from dataflare.resource import Resources
from dataflare.store import Store
from dataflare_host.host import HostApi
from dataflare_host.kinds import Budget
from dataflare_host.layout import Part
from dataflare_host.plan import Plan, StepPlan
from dataflare_pipeline.circuit import Circuit
from dataflare_pipeline.lease import Pace
from dataflare_pipeline.shared import Limits, StepMetrics

PORT_ROWS = 1 << 18
PORT_BYTES = 4 << 20
READ_ROWS = 1 << 16
READ_BYTES = 8 << 20


@dataclass
class Session:
    """One runner's part of a flow: the plan, the host, the store, and what people asked for."""

    part: Part
    host: HostApi
    store: Store
    budget: Budget
    pace: Pace = field(default_factory=Pace)
    probation: float = 30.0
    """Seconds in which a reloaded plugin's first epoch has to be committed."""
    patience: float = 5.0
    """Seconds that a call of a reloaded plugin may take at least."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Finish the epoch in flight, one more barrier, exit."""
    final: threading.Event = field(default_factory=threading.Event)
    """With ``stopping``: as if the input had ended."""
    aborting: threading.Event = field(default_factory=threading.Event)
    """Leave at once."""
    generation: int | None = None
    """Of the host's components; None: the newest, when the session is made."""
    metrics: dict[str, StepMetrics] = field(default_factory=dict)
    circuits: dict[str, Circuit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limits = Limits()
        self.resources = Resources()
        if self.generation is None:
            self.generation = self.host.table().generation

    @property
    def plan(self) -> Plan:
        """The plan of the flow."""
        return self.part.plan

    @property
    def base(self) -> Path:
        """Where relative paths start: the folder of the flow file."""
        return Path(self.plan.base)

    def turned(self, plan: Plan, generation: int) -> Session:
        """The same session by another plan of the same flow, with the components of another generation."""
        other = copy(self)
        other.part, other.generation = replace(self.part, plan=plan), generation
        return other

    def component(self, step: str) -> Component:
        """A configured instance for a step."""
        return self.host.step(self.plan, step, self.generation)

    def option(self, name: str, default: Any) -> Any:
        """An option of the plan."""
        value = self.plan.options.get(name)
        return default if value is None else value

    def port_limits(self, ports: int) -> tuple[int, int]:
        """Rows and bytes that one port may hold, of a budget that all ports share half of."""
        memory = self.budget.memory
        return PORT_ROWS, PORT_BYTES if memory is None else max(1 << 20, min(PORT_BYTES, memory // (2 * max(1, ports))))

    def source_lanes(self, step: StepPlan, splits: int | None) -> int:
        """How many lanes a source gets: as asked for, else a core each, as far as there are splits (None: any)."""
        if step.lanes is not None:
            return max(1, step.lanes)
        cores = self.budget.cpu or len(os.sched_getaffinity(0))
        return max(1, int(cores) if splits is None else min(int(cores), splits))

    def circuit(self, step: str) -> Circuit:
        """The circuit that all lanes of a step share, also over its attempts."""
        return self.circuits.setdefault(step, Circuit())

    def context(
        self,
        step: str,
        lane: int,
        fence: int,
        incarnation: str,
        epoch: int,
        cancel: threading.Event,
        request_checkpoint: Callable[[], None],
        outputs: frozenset[str],
    ) -> Context:
        """The surroundings of one lane."""
        metrics = self.metrics.setdefault(step, StepMetrics())
        around = {"flow": self.plan.name, "base": self.base, "cancel": cancel, "metrics": metrics}
        return Context(
            id=f"{self.plan.name}-{step}-{lane}",
            flow=self.plan.name,
            step=step,
            lane=lane,
            epoch=epoch,
            fence=fence,
            incarnation=incarnation,
            base=self.base,
            cache=self.base / ".dataflare" / "cache" / self.plan.name / step / str(lane),
            cancel=cancel,
            on_checkpoint_request=request_checkpoint,
            outputs=outputs,
            resources=self.resources,
            metrics=metrics,
            limiter=lambda name, rate: self.limits.enter(step, name, rate, cancel),
            **services(step, self.plan.steps[step].grants, self.host, **around),
        )


class Status:
    """What a region tells about itself; read from other threads, so fields are replaced whole."""

    def __init__(self) -> None:
        self.state = "starting"
        self.epoch = 0
        self.committed_at = ""
        self.problem: Problem | None = None
