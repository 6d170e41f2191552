"""Builds the lanes of a region: drivers, chains, ports; and opens each in its own thread."""

from __future__ import annotations

import base64
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from dataflare.calling import is_overridden
from dataflare.component import Component, Processor, Sink
from dataflare.context import Context
from dataflare.deferred import behind_spool
from dataflare.drive import ProcessorDriver, SinkDriver, SourceDriver, driver_for
from dataflare.errors import Problem
from dataflare.schema import Schema
from dataflare.split import Resume, Split
from dataflare.state import declared_states
from dataflare_host.checkpoint import Checkpoint, Letter
from dataflare_host.layout import Region
from dataflare_host.plan import MAIN, Edge, StepPlan
from dataflare_pipeline import migrate
from dataflare_pipeline.bound import EpochBound
from dataflare_pipeline.chain import Chain, Route
from dataflare_pipeline.chains import ChainPlan, cut
from dataflare_pipeline.epoch import version_of
from dataflare_pipeline.gate import SchemaGate
from dataflare_pipeline.inner_lane import InnerLane, ProcessorLane
from dataflare_pipeline.keyed import KEY_SCHEMA, TIMERS, KeyedState, KeyedTimers, group_of, lane_of
from dataflare_pipeline.lane import Lane, Mail
from dataflare_pipeline.operator import ProcessorOp
from dataflare_pipeline.outlet import Outlet
from dataflare_pipeline.policy import Guard, Policy, blamed
from dataflare_pipeline.replay import PREFIX, LettersDriver, ReplayLane, Wanted
from dataflare_pipeline.session import READ_BYTES, READ_ROWS, Session
from dataflare_pipeline.sink_lane import SinkLane
from dataflare_pipeline.source_lane import Reads, SourceLane
from dataflare_pipeline.splits import SplitBook
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
        self.plan = session.plan
        self.checkpoint = checkpoint
        self.fence = fence
        self.cancel = threading.Event()
        self.books: dict[str, SplitBook] = {}
        self.lanes: dict[str, list[Lane]] = {}
        """By head of chain."""
        self.schemas: dict[tuple[str, str], Schema] = {}
        """What flows out of each output of the region's steps, as far as it is known."""
        self.bound = EpochBound(self.plan.checkpoint.get("rows"), self.plan.checkpoint.get("bytes"))
        self._mail = mail
        self._on_problem = on_problem
        self._request_checkpoint = request_checkpoint
        self._evolve = evolve
        self.chains = cut(self.plan, region.steps, self._fusable)
        edges = [edge for edge in self.plan.edges if edge.source in region.steps]
        self._port_rows, self._port_bytes = session.port_limits(len(edges) * 2)

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
            listed = self.checkpoint.splits.get(step.name, [])
            now = version_of(self.plan, step.name)
            held = self.checkpoint.position_versions.get(step.name, now)
            listed = migrate.positions(driver, step.name, listed, held, now)
            self.books[step.name] = SplitBook(listed, self.checkpoint.discovery.get(step.name))
            self.books[step.name].restore_watermarks(self._watermarks(step.name))
        reads = self._reads(step)
        self._source_schemas(step, reads.columns)
        agreed = {output: schema for (name, output), schema in self.schemas.items() if name == step.name}
        driver.agreed = agreed.get(MAIN)
        gate = SchemaGate(
            step.name,
            agreed,
            str(
                self.session.option("schema_rules", {}).get(step.name)
                or self.session.option("on_schema_change", "evolve")
            ),
            lambda output, wanted: self._evolve(lane, output, wanted),
            self._refusal(step),
        )
        lane = SourceLane(
            step.name,
            number,
            self._chain(chain, number),
            self._mail,
            driver,
            self.books[step.name],
            reads,
            gate,
            self._refusal(step),
            self.session.budget,
            self.bound,
        )
        self.lanes.setdefault(step.name, []).append(lane)
        return lane

    def replays(self, wanted: Wanted) -> list[ReplayLane]:
        """A lane for each step of the region that refused rows which are to be replayed now."""
        letters: dict[str, list[Letter]] = {}
        for letter in wanted.letters(self.session.store, self.plan.name):
            chain = next((chain for chain in self.chains if letter.step in chain.steps), None)
            if chain is not None and self.plan.steps[letter.step].kind != "source":
                letters.setdefault(letter.step, []).append(letter)
        return [self._replay(step, found) for step, found in letters.items()]

    def _replay(self, step: str, letters: list[Letter]) -> ReplayLane:
        name = PREFIX + step
        context = Context(flow=self.plan.name, step=name, base=self.session.base)
        book = SplitBook()
        book.add([Split(name)])
        refusal = self._refusal(self.plan.steps[step])
        gate = SchemaGate(name, {}, "freeze", lambda output, wanted: False, refusal)
        lane = ReplayLane(
            name,
            0,
            self._chain_into(name, step),
            self._mail,
            LettersDriver(context, letters),
            book,
            Reads(None, READ_ROWS, READ_BYTES),
            gate,
            refusal,
            self.session.budget,
            self.bound,
        )
        self.lanes[name] = [lane]
        return lane

    def _chain_into(self, name: str, step: str) -> Chain:
        """From a replay lane into a step: through its ports if it heads lanes, else through a copy of what is fused."""
        if step in self.lanes:
            edges = [replace(edge, source=name, output=edge.input or MAIN) for edge in self.plan.inputs(step)]
            return Chain([], {(name, edge.output): Route(outlets=[self._outlet(edge, 0)]) for edge in edges})
        chain = next(chain for chain in self.chains if step in chain.steps)
        behind = [step]
        for other in chain.steps:
            if any(edge.source in behind for edge in self.plan.inputs(other)):
                behind.append(other)
        made = self._chain(ChainPlan(name, [name, *behind]), 0)
        made.routes[(name, MAIN)] = Route(next=made.operators[0])
        return made

    def open(self, chain: ChainPlan, lane: Lane) -> None:
        """Plan, open and restore everything in the lane. In the lane's thread."""
        if isinstance(lane, SourceLane):
            with blamed(lane.step):
                lane.driver.open(self._resume(lane.step, lane.number))
        if isinstance(lane, SinkLane):
            self._open_sink(lane)
        if isinstance(lane, ProcessorLane):
            self._open_processor(lane.head)
            if lane.head.timers is not None:
                lane.head.timers.restore()
        for operator in lane.chain.operators:
            self._open_processor(operator)

    # --- one lane -------------------------------------------------------------------------------------

    def _inner_lane(self, chain: ChainPlan, number: int) -> InnerLane:
        step = self.plan.steps[chain.head]
        if step.kind == "sink":
            context = self._context(step.name, number)
            component = self._component(step)
            if step.name in self.plan.guarantee.deliver_on_commit:
                assert isinstance(component, Sink)
                component = behind_spool(component)
            driver = driver_for(component, context)
            assert isinstance(driver, SinkDriver)
            return SinkLane(
                step.name,
                number,
                self._mail,
                driver,
                context,
                self._guard(step),
                self._refusal(step),
                self.session.budget,
            )
        head = self._operator(step, self._component(step), number)
        if step.keyed:
            head.state = KeyedState(step.name, head.context.clock_now)
            head.timers = KeyedTimers(head.state, step.keyed)
            head.context.state, head.context.timers = head.state, head.timers
        return ProcessorLane(step.name, number, self._chain(chain, number), self._mail, head)

    def _chain(self, chain: ChainPlan, number: int) -> Chain:
        """The fused steps of a lane; neighbours that can become one processor do."""
        groups = self._compiled(chain)
        operators = {
            group[-1]: self._operator(self.plan.steps[group[-1]], component, number, first=group[0])
            for group, component in groups
        }
        entry = {group[0]: operators[group[-1]] for group, _ in groups}
        routes: dict[tuple[str, str], Route] = {}
        for name in [chain.head, *operators]:
            for edge in self.plan.outgoing(name):
                route = routes.setdefault((name, edge.output), Route())
                if edge.target in entry:
                    route.next, route.input = entry[edge.target], edge.input
                else:
                    route.outlets.append(self._outlet(edge, number))
        return Chain(list(operators.values()), routes)

    def _compiled(self, chain: ChainPlan) -> list[tuple[list[str], Component]]:
        """The steps behind the head, in groups that one component does the work of."""
        groups: list[tuple[list[str], Component]] = []
        for name in chain.steps[1:]:
            step, component = self.plan.steps[name], self._component(self.plan.steps[name])
            if groups and self.plan.inputs(name)[0].source == groups[-1][0][-1] and not step.on_error:
                before, last = groups[-1][1], self.plan.steps[groups[-1][0][-1]]
                assert isinstance(before, Processor)
                assert isinstance(component, Processor)
                fused = before.fuse(component) if not last.on_error else None
                if fused is not None:
                    groups[-1] = ([*groups[-1][0], name], fused)
                    continue
            groups.append(([name], component))
        return groups

    def _operator(self, step: StepPlan, component: Component, number: int, first: str | None = None) -> ProcessorOp:
        context = self._context(step.name, number)
        driver = driver_for(component, context)
        assert isinstance(driver, ProcessorDriver)
        return ProcessorOp(
            step.name, driver, context, self._guard(step), self._refusal(step), self.session.budget, first
        )

    def _outlet(self, edge: Edge, producer: int) -> Outlet:
        ports = [
            lane.inbox.port(edge.id, producer, edge.input, self._port_rows, self._port_bytes)
            for lane in self.lanes[edge.target]
        ]
        key = self.plan.steps[edge.target].keyed if edge.exchange == "key" else ()
        return Outlet(edge.id, ports, key, producer)

    # --- opening --------------------------------------------------------------------------------------

    def _open_processor(self, operator: ProcessorOp) -> None:
        inputs = self._inputs(operator.first)
        if inputs:
            planned = operator.plan(inputs)
            self.schemas |= {(operator.step, output): schema for output, schema in planned.items() if not schema.open}
        with blamed(operator.step):
            operator.driver.open(self._resume(operator.step, operator.context.lane))
        if operator.state is not None:
            if self.checkpoint.epoch:
                self._load_state(operator)
        self._restore(operator.driver, operator.step)

    def _open_sink(self, lane: SinkLane) -> None:
        inputs = self._inputs(lane.step)
        if inputs:
            lane.plan(inputs[""])
        with blamed(lane.step):
            lane.driver.open(self._resume(lane.step, lane.number))
        self._restore(lane.driver, lane.step)

    def _inputs(self, step: str) -> dict[str, Schema]:
        """The schemas of a step's inputs; several edges into one input are united. Empty while one is unknown."""
        inputs: dict[str, Schema] = {}
        for edge in self.plan.inputs(step):
            schema = self.schemas.get((edge.source, edge.output))
            if schema is None:
                return {}
            inputs[edge.input] = inputs[edge.input].union(schema) if edge.input in inputs else schema
        return inputs

    def _load_state(self, operator: ProcessorOp) -> None:
        state, step = operator.state, operator.step
        assert state is not None
        lane, lanes = operator.context.lane, len(self.lanes[step]) if step in self.lanes else 1
        held, now = self.checkpoint.state_versions.get(step), version_of(self.plan, step)
        older = held is not None and held < now
        for name in [*declared_states(type(operator.driver.component)), TIMERS, KEY_SCHEMA]:
            rows = self.session.store.state(self.plan.name, self._region_of(step), step, name)
            mine: Iterator[migrate.Row] = (
                row for row in rows if name == KEY_SCHEMA or lane_of(group_of(row[0]), lanes) == lane
            )
            if older and held is not None and name not in (TIMERS, KEY_SCHEMA):
                mine = migrate.values(operator.driver, step, name, mine, held, now)
            state.load(name, mine, changed=older)

    def _restore(self, driver: Any, step: str) -> None:
        for text in self.checkpoint.snapshots.get(step, {}).values():
            with blamed(step):
                driver.restore(base64.b64decode(text), self.checkpoint.state_versions.get(step, 1))

    def _resume(self, step: str, lane: int) -> Resume:
        return Resume(
            epoch=self.checkpoint.epoch,
            tokens=self.checkpoint.tokens.get(step, {}),
            made=self.checkpoint.made.get(step),
            incarnation=self.checkpoint.incarnation,
        )

    # --- parts ----------------------------------------------------------------------------------------

    def _component(self, step: StepPlan) -> Component:
        return self.session.host.step(self.plan, step.name)

    def _context(self, step: str, lane: int) -> Context:
        made = self.checkpoint
        return self.session.context(
            step, lane, self.fence, made.incarnation, made.epoch + 1, self.cancel, self._request_checkpoint
        )

    def _guard(self, step: StepPlan) -> Guard:
        return Guard(step.name, Policy.of(step.on_error), self.cancel, self._on_problem)

    def _refusal(self, step: StepPlan) -> Refusal:
        keep = Policy.of(step.on_error).final != "drop"
        return Refusal(self.plan.name, self._region_of(step.name), step.name, f"{step.plugin} {step.version}", keep)

    def _region_of(self, step: str) -> str:
        return next(name for name, region in self.session.part.layout.regions.items() if step in region.steps)

    def _fusable(self, step: StepPlan) -> bool:
        component = self.session.host.step(self.plan, step.name)
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
            self.schemas[(step.name, output)] = schema

    def _watermarks(self, step: str) -> dict[str, str]:
        prefix = f"{step}/"
        marks = self.checkpoint.watermarks.items()
        return {name.removeprefix(prefix): time for name, time in marks if name.startswith(prefix)}
