"""Builds the lanes of a region: drivers, chains, ports."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from copy import copy

from dataflare.calling import is_overridden
from dataflare.checkpoint import Checkpoint, StepProof
from dataflare.component import Component, Processor, Sink
from dataflare.context import Context
from dataflare.deferred import behind_spool
from dataflare.drive import ProcessorDriver, SinkDriver, SourceDriver, driver_for
from dataflare.errors import Problem
from dataflare.schema import Schema
from dataflare_host.layout import Region
from dataflare_host.plan import Edge, StepPlan
from dataflare_pipeline import migrate
from dataflare_pipeline.active import Reads
from dataflare_pipeline.bound import EpochBound
from dataflare_pipeline.chain import Chain, Route
from dataflare_pipeline.chains import ChainPlan, cut, inputs_of
from dataflare_pipeline.gate import SchemaGate
from dataflare_pipeline.guard import Guard
from dataflare_pipeline.inner_lane import InnerLane, ProcessorLane
from dataflare_pipeline.keyed import KeyedState
from dataflare_pipeline.lane import Lane, Mail
from dataflare_pipeline.operator import ProcessorOp
from dataflare_pipeline.outlet import Outlet
from dataflare_pipeline.policy import Policy
from dataflare_pipeline.proof import joined, operator_of
from dataflare_pipeline.session import READ_BYTES, READ_ROWS, Session
from dataflare_pipeline.sink_lane import SinkLane
from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.splits import SplitBook
from dataflare_pipeline.timers import KeyedTimers
from dataflare_pipeline.work import Refusal

STATEFUL = ("timer", "watermark", "finish", "snapshot", "restore")


class Builder:
    """Makes the lanes of one attempt of one region."""

    def __init__(
        self,
        session: Session,
        region: Region,
        checkpoint: Checkpoint,
        fence: int,
        mail: queue.SimpleQueue[Mail],
        on_problem: Callable[[Problem | None], None],
        request_checkpoint: Callable[[], None],
        evolve: Callable[[SourceLane, str, Schema], bool],
    ) -> None:
        self.session = session
        self.region = region
        self.plan = session.plan
        self.checkpoint = checkpoint
        self.fence = fence
        self.cancel = threading.Event()
        self.books: dict[str, SplitBook] = {}
        self.lanes: dict[str, list[Lane]] = {}
        """By head of chain."""
        self.schemas: dict[tuple[str, str], Schema] = {}
        """What flows out of each output of the region's steps, as far as it is known."""
        self.agreed: dict[str, dict[str, Schema]] = {}
        """By source and output: the schema that rows are let through in, shared by the source's lanes."""
        self.operators: dict[str, StepProof] = {}
        """What the proof of no loss holds each operator against."""
        self.bound = EpochBound(self.plan.checkpoint.get("rows"), self.plan.checkpoint.get("bytes"))
        self.mail = mail
        self._on_problem = on_problem
        self._request_checkpoint = request_checkpoint
        self._evolve = evolve
        self.chains = cut(self.plan, region.steps, self.fusable)
        self._port_rows, self._port_bytes = session.port_limits(len(self.plan.edges) * 2)

    def inner(self) -> None:
        """Make every lane but the sources', those behind first, so that ports have somewhere to lead."""
        for chain in reversed(self.chains):
            if self.plan.steps[chain.head].kind != "source":
                self.lanes[chain.head] = [self._inner_lane(chain, number) for number in range(chain.lanes or 1)]

    def source(self, chain: ChainPlan, number: int) -> SourceLane:
        """One more lane of a source."""
        step = self.plan.steps[chain.head]
        context = self._context(chain.head, number)
        driver = driver_for(self._component(step), context)
        assert isinstance(driver, SourceDriver)
        if number == 0:
            listed = migrate.splits_of(driver, self.plan, self.checkpoint)
            self.books[step.name] = SplitBook(listed, self.checkpoint.discovery.get(step.name))
            self.books[step.name].restore_watermarks(self._watermarks(step.name))
        reads = self._reads(step)
        if number == 0:
            self._source_schemas(step, reads.columns)
            self.operators[step.name] = operator_of(step, step.name, "any", delays=False)
        gate = SchemaGate(
            step.name,
            self.agreed[step.name],
            str(
                self.session.option("schema_rules", {}).get(step.name)
                or self.session.option("on_schema_change", "evolve")
            ),
            lambda output, wanted: self._evolve(lane, output, wanted),
            self.refusal(step),
        )
        lane = SourceLane(
            step.name,
            number,
            self.chain(chain, number),
            self.mail,
            driver,
            self.books[step.name],
            reads,
            gate,
            self.refusal(step),
            self.session.budget,
            self.bound,
            self.session.circuit(step.name),
        )
        self.lanes.setdefault(step.name, []).append(lane)
        return lane

    # --- one lane -------------------------------------------------------------------------------------

    def _inner_lane(self, chain: ChainPlan, number: int) -> InnerLane:
        step = self.plan.steps[chain.head]
        if step.kind == "sink":
            self.operators[step.name] = operator_of(step, step.name, "one", delays=False)
            return self.sink_lane(step, number, self._component(step))
        return ProcessorLane(step.name, number, self.chain(chain, number), self.mail, self.operator(step, number))

    def sink_lane(self, step: StepPlan, number: int, component: Component) -> SinkLane:
        """A lane of a sink, with this instance."""
        context = self._context(step.name, number)
        if step.name in self.plan.guarantee.deliver_on_commit:
            assert isinstance(component, Sink)
            component = behind_spool(component)
        driver = driver_for(component, context)
        assert isinstance(driver, SinkDriver)
        guard, refusal = self._guard(step), self.refusal(step)
        return SinkLane(step.name, number, self.mail, driver, context, guard, refusal, self.session.budget)

    def beside(self, session: Session) -> Builder:
        """One for the same lanes by another session: what it makes can take the place of what this one made."""
        other = copy(self)
        other.session, other.plan = session, session.plan
        other.operators, other.schemas = dict(self.operators), dict(self.schemas)
        return other

    def operator(self, step: StepPlan, number: int) -> ProcessorOp:
        """One operator for a step that was compiled into no other, with its state if it has keys."""
        made = self._operator([step.name], self._component(step), number)
        if step.by_key:
            made.state = KeyedState(step.name, made.context.clock_now)
            made.timers = KeyedTimers(made.state, step.keyed)
            made.context.state, made.context.timers = made.state, made.timers
        return made

    def chain(self, chain: ChainPlan, number: int) -> Chain:
        """The fused steps of a lane; neighbours that can become one processor do."""
        groups = self._compiled(chain)
        operators = {group[-1]: self._operator(group, component, number) for group, component in groups}
        entry = {group[0]: operators[group[-1]] for group, _ in groups}
        routes: dict[tuple[str, str], Route] = {}
        for name in [chain.head, *operators]:
            for edge in self.plan.outgoing(name):
                route = routes.setdefault((name, edge.output), Route())
                if edge.target in entry:
                    route.next, route.input, route.edge = entry[edge.target], edge.input, edge.id
                else:
                    route.outlets.append(self.outlet(edge, number))
        return Chain(list(operators.values()), routes)

    def _compiled(self, chain: ChainPlan) -> list[tuple[list[str], Component]]:
        """The steps behind the head, in groups that one component does the work of."""
        groups: list[tuple[list[str], Component]] = []
        for name in chain.steps[1:]:
            step, component = self.plan.steps[name], self._component(self.plan.steps[name])
            if groups and self.plan.inputs(name)[0].source == groups[-1][0][-1] and not self._own(step):
                before, last = groups[-1][1], self.plan.steps[groups[-1][0][-1]]
                assert isinstance(before, Processor)
                assert isinstance(component, Processor)
                fused = before.fuse(component) if not self._own(last) else None
                if fused is not None:
                    groups[-1] = ([*groups[-1][0], name], fused)
                    continue
            groups.append(([name], component))
        return groups

    def _own(self, step: StepPlan) -> bool:
        """Has the step rules of its own for what it cannot take? Then it is not compiled into others."""
        return bool(step.on_error) or step.name in self.session.option("step_rejects", {})

    def _operator(self, group: list[str], component: Component, number: int) -> ProcessorOp:
        """One operator for the steps that were compiled into ``component``."""
        steps = [self.plan.steps[name] for name in group]
        step = steps[-1]
        context = self._context(step.name, number)
        driver = driver_for(component, context)
        assert isinstance(driver, ProcessorDriver)
        # What was refused is the input of the first of the steps that became one.
        refusal = self.refusal(steps[0])
        made = ProcessorOp(step.name, driver, context, self._guard(step), refusal, self.session.budget, group[0])
        cardinality = joined(str(each.abilities.get("cardinality", "any")) for each in steps)
        delays = any(is_overridden(component, name) for name in STATEFUL)
        self.operators[made.name] = operator_of(step, group[0], cardinality, delays)
        return made

    def outlet(self, edge: Edge, producer: int) -> Outlet:
        """An edge out of one producing lane: a port in every lane behind it."""
        ports = [
            lane.inbox.port(edge.id, producer, edge.input, self._port_rows, self._port_bytes)
            for lane in self.lanes[edge.target]
        ]
        key = self.plan.steps[edge.target].keyed if edge.exchange == "key" else ()
        return Outlet(edge.id, ports, key, producer)

    def inputs(self, step: str) -> dict[str, Schema]:
        """The schemas of a step's inputs, as far as they are known."""
        return inputs_of(self.plan, step, self.schemas)

    # --- parts ----------------------------------------------------------------------------------------

    def _component(self, step: StepPlan) -> Component:
        return self.session.component(step.name)

    def _context(self, step: str, lane: int) -> Context:
        made = self.checkpoint
        read = frozenset(edge.output for edge in self.plan.outgoing(step))
        return self.session.context(
            step, lane, self.fence, made.incarnation, made.epoch + 1, self.cancel, self._request_checkpoint, read
        )

    def _guard(self, step: StepPlan) -> Guard:
        return Guard(
            step.name, Policy.of(step.on_error), self.session.circuit(step.name), self.cancel, self._on_problem
        )

    def refusal(self, step: StepPlan) -> Refusal:
        """What becomes of rows that a step refuses."""
        keep = Policy.of(step.on_error).final != "drop"
        return Refusal(self.plan.name, self.region.name, step.name, f"{step.plugin} {step.version}", keep)

    def fusable(self, step: StepPlan) -> bool:
        """May a step be called by the one before it?"""
        component = self.session.component(step.name)
        return step.stateless and not any(is_overridden(component, name) for name in STATEFUL)

    def _reads(self, step: StepPlan) -> Reads:
        time = {**self.session.option("time", {}), **self.session.option("times", {}).get(step.name, {})}
        edges = self.plan.outgoing(step.name)
        columns: frozenset[str] | None = None
        if edges and all(edge.columns is not None for edge in edges):
            columns = frozenset(name for edge in edges for name in edge.columns or ()) or None
        if columns is not None and time.get("column"):
            columns |= {time["column"]}
        return Reads(
            columns,
            READ_ROWS,
            READ_BYTES,
            step.every,
            Policy.of(step.on_error),
            time.get("column"),
            float(time.get("lateness") or 0.0),
        )

    def _source_schemas(self, step: StepPlan, columns: frozenset[str] | None) -> None:
        """The agreed schema of each output: what the plan says, grown by what was agreed on before."""
        agreed = self.agreed[step.name] = {}
        for output, value in step.outputs.items():
            schema = None if value is None else Schema.from_json(value)
            before = self.checkpoint.schemas.get(f"{step.name}.{output}")
            if before is not None:
                held = Schema.from_json(before)
                schema = held if schema is None else schema.union(held)
            if schema is None or schema.open:
                continue
            if columns is not None:
                schema = schema.select([name for name in schema.names if name in columns])
            self.schemas[(step.name, output)] = agreed[output] = schema

    def _watermarks(self, step: str) -> dict[str, str]:
        prefix = f"{step}/"
        marks = self.checkpoint.watermarks.items()
        return {name.removeprefix(prefix): time for name, time in marks if name.startswith(prefix)}
