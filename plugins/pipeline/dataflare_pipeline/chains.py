"""How the steps of a region are cut into chains: pure, from the plan and from what each step can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dataflare.schema import Schema
from dataflare_host.plan import Edge, Plan, StepPlan


@dataclass
class ChainPlan:
    """A head and the stateless steps fused behind it, in order. ``lanes`` None: as many as the source has work for."""

    head: str
    steps: list[str] = field(default_factory=list)
    lanes: int | None = 1


def in_order(plan: Plan, steps: Iterable[str]) -> list[str]:
    """The steps, each behind all that feed it."""
    wanted = set(steps)
    done: list[str] = []

    def visit(name: str) -> None:
        if name in done or name not in wanted:
            return
        for edge in plan.inputs(name):
            visit(edge.source)
        done.append(name)

    for name in plan.steps:
        visit(name)
    return done


def inputs_of(plan: Plan, step: str, schemas: Mapping[tuple[str, str], Schema]) -> dict[str, Schema]:
    """The schemas of a step's inputs; several edges into one input are united. Empty while one is unknown."""
    inputs: dict[str, Schema] = {}
    for edge in plan.inputs(step):
        schema = schemas.get((edge.source, edge.output))
        if schema is None:
            return {}
        inputs[edge.input] = inputs[edge.input].union(schema) if edge.input in inputs else schema
    return inputs


def cut(plan: Plan, steps: Iterable[str], fusable: Callable[[StepPlan], bool]) -> list[ChainPlan]:
    """The chains of a region, each behind those that feed it.

    A step joins the chain before it if it is stateless, asks for no lanes of its own, has one plain input and is
    the only reader of that output.
    """
    chains: dict[str, ChainPlan] = {}
    for name in in_order(plan, steps):
        step, inputs = plan.steps[name], plan.inputs(name)
        if _joins(plan, step, inputs, fusable):
            chain = chains[name] = chains[inputs[0].source]
            chain.steps.append(name)
        else:
            lanes = step.lanes if step.lanes or step.kind == "source" else 1
            if step.by_key and not step.keyed:
                lanes = 1
            chains[name] = ChainPlan(name, [name], lanes)
    return list({id(chain): chain for chain in chains.values()}.values())


def _joins(plan: Plan, step: StepPlan, inputs: tuple[Edge, ...], fusable: Callable[[StepPlan], bool]) -> bool:
    if step.kind != "processor" or step.lanes is not None or step.by_key or len(inputs) != 1:
        return False
    edge = inputs[0]
    readers = [other for other in plan.outgoing(edge.source) if other.output == edge.output]
    return len(readers) == 1 and edge.exchange == "forward" and not edge.input and fusable(step)
