"""The engine component: turns a part of a plan into a runner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.fields import field
from dataflare.types import Duration
from dataflare_host.kinds import Budget, Engine, Exchange, Runner
from dataflare_host.layout import Part
from dataflare_pipeline.lease import Pace

if TYPE_CHECKING:
    from dataflare_host.host import HostApi
    from dataflare_pipeline.session import Session


class Pipeline(Engine):
    """Lanes, bounded channels, barriers and checkpoints, in the threads of one process."""

    lease: Pace = field(
        default=Pace(),
        help="`beat`: how often a run says that it lives; `patience`: how long a silent one is waited for.",
    )

    probation: Duration = field(
        default=30.0,
        help="Within it a reloaded plugin's first epoch has to be committed; else the old version goes on.",
    )

    patience: Duration = field(
        default=5.0,
        help="A call of a reloaded plugin may take as long, and as long as twenty of its longest calls until then; "
        "else the old version goes on.",
    )

    def runner(self, part: Part, host: HostApi, exchange: Exchange | None, budget: Budget) -> Runner:
        """A runner for this part; the flow's store is configured, not opened."""
        from dataflare_pipeline.handover.relay import Relay
        from dataflare_pipeline.runner import FlowRunner

        return Relay(FlowRunner(self.session(part, host, budget)))

    def session(self, part: Part, host: HostApi, budget: Budget) -> Session:
        """What the regions of this part share."""
        # Lanes are the parallelism: a thread pool in each library below them would only get in their way.
        os.environ.setdefault("POLARS_MAX_THREADS", "1")
        import pyarrow as pa

        # Arrow's own pool keeps what was freed: 50 MB more at rest, and no faster on blocks of megabytes.
        pa.set_memory_pool(pa.system_memory_pool())
        from dataflare_pipeline.session import Session

        store = host.store(part.plan.state, Path(part.plan.base) if part.plan.base else None)
        return Session(part, host, store, budget, self.lease, self.probation, self.patience)
