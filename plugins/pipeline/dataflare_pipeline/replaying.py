"""The lanes that replay dead letters, built into the lanes of an attempt."""

from __future__ import annotations

from dataclasses import replace

from dataflare.checkpoint import Letter
from dataflare.context import Context
from dataflare.split import Split
from dataflare_host.plan import MAIN
from dataflare_pipeline.active import Reads
from dataflare_pipeline.build import Builder
from dataflare_pipeline.chain import Chain, Route
from dataflare_pipeline.chains import ChainPlan
from dataflare_pipeline.gate import SchemaGate
from dataflare_pipeline.replay import PREFIX, LettersDriver, ReplayLane, Wanted
from dataflare_pipeline.session import READ_BYTES, READ_ROWS
from dataflare_pipeline.splits import SplitBook


def replay_lanes(builder: Builder, wanted: Wanted) -> list[ReplayLane]:
    """A lane for each step of the region that refused rows which are to be replayed now."""
    letters: dict[str, list[Letter]] = {}
    for letter in wanted.letters(builder.session.store, builder.plan, builder.region.steps):
        letters.setdefault(letter.step, []).append(letter)
    return [_lane(builder, step, found) for step, found in letters.items()]


def _lane(builder: Builder, step: str, letters: list[Letter]) -> ReplayLane:
    name = PREFIX + step
    context = Context(flow=builder.plan.name, step=name, base=builder.session.base)
    book = SplitBook()
    book.add([Split(name)])
    refusal = builder.refusal(builder.plan.steps[step])
    lane = ReplayLane(
        name,
        0,
        _chain_into(builder, name, step),
        builder.mail,
        LettersDriver(context, letters),
        book,
        Reads(None, READ_ROWS, READ_BYTES),
        SchemaGate(name, {}, "freeze", lambda output, wanted: False, refusal),
        refusal,
        builder.session.budget,
        builder.bound,
        builder.session.circuit(name),
    )
    builder.lanes[name] = [lane]
    return lane


def _chain_into(builder: Builder, name: str, step: str) -> Chain:
    """From a replay lane into a step: through its ports if it heads lanes, else through a copy of what is fused."""
    if step in builder.lanes:
        # One edge for each input: a port that nobody feeds would never bring a barrier.
        into = {edge.input: edge for edge in builder.plan.inputs(step)}
        edges = [replace(edge, source=name, output=edge.input or MAIN) for edge in into.values()]
        return Chain([], {(name, edge.output): Route(outlets=[builder.outlet(edge, 0)]) for edge in edges})
    chain = next(chain for chain in builder.chains if step in chain.steps)
    behind = [step]
    for other in chain.steps:
        if any(edge.source in behind for edge in builder.plan.inputs(other)):
            behind.append(other)
    made = builder.chain(ChainPlan(name, [name, *behind]), 0)
    made.routes[(name, MAIN)] = Route(next=made.operators[0], edge=f"{name}.{MAIN}->{step}")
    return made
