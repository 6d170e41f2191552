"""Whether the sums of a checkpoint add up: what was sent with what was taken, what a step took with what it gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dataflare.checkpoint import EdgeProof, StepProof

COUNTED = ""
"""Stands for the digest of an edge whose rows are only counted."""
Edges = Mapping[str, EdgeProof]
Steps = Mapping[str, StepProof]
Over = Literal["epoch", "all", "end"]


@dataclass(frozen=True)
class Difference:
    """Something that does not add up: at an edge or a step, what should be there, and what is."""

    place: str
    message: str
    expected: int
    found: int


def differences(edges: Edges, steps: Steps, over: Over) -> list[Difference]:
    """What does not add up, over one epoch, over all so far, or over all now that the input was read and flushed."""
    found = [wrong for edge, proof in sorted(edges.items()) for wrong in _over(edge, proof)]
    for name, step in steps.items():
        found += _into(name, step, steps, edges)
        found += _within(name, step, over)
        found += _out_of(name, step, steps, edges)
    return found


def source_of(edge: str) -> str:
    """The step an edge comes from."""
    return edge.partition("->")[0].rpartition(".")[0]


def target_of(edge: str) -> str:
    """The step an edge leads to."""
    return edge.partition("->")[2].partition(".")[0]


def _over(edge: str, proof: EdgeProof) -> Iterable[Difference]:
    if proof.rows != proof.taken_rows:
        message = f"{proof.rows} rows were sent over {edge}, {proof.taken_rows} were taken from it"
        yield Difference(edge, message, proof.rows, proof.taken_rows)
    elif proof.digest != proof.taken_digest:
        message = f"the {proof.rows} rows sent over {edge} are not the {proof.taken_rows} that were taken from it"
        yield Difference(edge, message, proof.rows, proof.taken_rows)


def _into(name: str, step: StepProof, steps: Steps, edges: Edges) -> Iterable[Difference]:
    if step.kind == "source":
        return
    came = sum(proof.taken_rows for edge, proof in edges.items() if target_of(edge) == step.first)
    read = sum(other.read for other in steps.values() if other.first == step.first)
    if came != read:
        yield Difference(name, f"{came} rows came to `{name}`, it worked on {read}", came, read)


def _within(name: str, step: StepProof, over: Over) -> Iterable[Difference]:
    if step.kind == "source" or step.cardinality == "any" or (step.delays and over == "epoch"):
        return
    gave = step.written + step.refused
    more = gave > step.read
    fewer = gave < step.read and step.cardinality == "one" and (over == "end" or not step.delays)
    if more or fewer:
        refused = f" and refused {step.refused}" if step.refused else ""
        message = f"`{name}` took {step.read} rows, gave {step.written}{refused}; its cardinality is {step.cardinality}"
        yield Difference(name, message, step.read, gave)


def _out_of(name: str, step: StepProof, steps: Steps, edges: Edges) -> Iterable[Difference]:
    if step.outputs != 1:
        return
    written = sum(other.written for other in steps.values() if other.last == step.last)
    for edge, proof in edges.items():
        if source_of(edge) == step.last and proof.rows != written:
            yield Difference(name, f"`{name}` gave {written} rows, {proof.rows} left over {edge}", written, proof.rows)
