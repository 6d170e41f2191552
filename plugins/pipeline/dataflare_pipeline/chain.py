"""A chain: steps fused into one lane, each handing its batches to the next by a plain call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dataflare.batch import Batch
from dataflare_pipeline.operator import ProcessorOp
from dataflare_pipeline.outlet import Outlet
from dataflare_pipeline.work import Work


@dataclass
class Route:
    """Where an output of a step goes: the next step of the chain, and edges that leave it."""

    next: ProcessorOp | None = None
    input: str = ""
    edge: str = ""
    """The edge to ``next``."""
    outlets: list[Outlet] = field(default_factory=list)


class Chain:
    """The processors of one lane and their routes, by (step, output)."""

    def __init__(self, operators: list[ProcessorOp], routes: dict[tuple[str, str], Route]) -> None:
        self.operators = operators
        self.routes = routes

    @property
    def outlets(self) -> list[Outlet]:
        """Every edge that leaves the lane."""
        return [outlet for route in self.routes.values() for outlet in route.outlets]

    def renewed(self, fresh: Mapping[str, ProcessorOp]) -> Chain:
        """The same chain with other operators in the place of those of these steps."""

        def newest(operator: ProcessorOp) -> ProcessorOp:
            return fresh.get(operator.step, operator)

        routes = {
            key: replace(route, next=None if route.next is None else newest(route.next))
            for key, route in self.routes.items()
        }
        return Chain([newest(operator) for operator in self.operators], routes)

    def push(self, step: str, output: str, batch: Batch, work: Work) -> None:
        """Rows that a step gave, through the rest of the chain. An output that nobody reads ends here."""
        route = self.routes.get((step, output))
        if route is None or not len(batch):
            return
        for outlet in route.outlets:
            work.outputs.append((outlet, batch))
        if route.next is not None:
            work.sent(route.edge, len(batch), None)
            outputs = route.next.process(batch, route.input, work)
            work.taken(route.edge, len(batch), None)
            for name, made in outputs:
                self.push(route.next.step, name, made, work)
