"""The proof of no loss: sums of every edge, by both its ends, and what each step may make of its rows.

A batch is hashed where it leaves its lane; within a lane, where steps call one another, rows are only counted. The
sending side adds it up when the channel took it, the receiving side when it has worked on it, each into the epoch it is
in: so a batch that is lost, doubled or put into another epoch shows. What a step takes, gives and refuses is held
against its ``cardinality``. The sums go into the checkpoint; what does not add up within an epoch is named there for
good.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from dataflare.checkpoint import Checkpoint, EdgeProof, Proof, SinkProof, StepProof
from dataflare.digest import MODULUS, algorithm
from dataflare.proof import COUNTED, differences
from dataflare_host.plan import StepPlan
from dataflare_pipeline.work import Counts, Sum, Sums

log = logging.getLogger("dataflare.pipeline")


def operator_name(first: str, last: str) -> str:
    """The name of an operator: its step, or the first and the last of those that were compiled into it."""
    return last if first == last else f"{first}..{last}"


def operator_of(step: StepPlan, first: str, cardinality: str, delays: bool) -> StepProof:
    """What is fixed of an operator: nothing is counted yet."""
    return StepProof(step.kind, first, step.name, cardinality, max(1, len(step.outputs)), delays)


def joined(cardinalities: Iterable[str]) -> str:
    """The cardinality of several steps behind one another."""
    return max(cardinalities, key=("one", "filter", "any").index, default="one")


def prove(before: Checkpoint, made: Checkpoint, sums: Iterable[Sums], operators: Mapping[str, StepProof]) -> Checkpoint:
    """The checkpoint with the sums of its epoch added, and with the places that did not add up in it."""
    total = Sums()
    for each in sums:
        total.add(each)
    if not total.sent and not total.steps:
        return made
    old, edges = before.proof, dict(before.proofs)
    if old.by != algorithm() or _shape(old.steps) != _shape(operators) or _other_edges(edges, total):
        old = Proof(algorithm(), before.epoch, {**operators}, {}, old.differs)
        edges = {}
    epoch_edges = {edge: _edge(EdgeProof(), total, edge) for edge in {*total.sent, *total.taken}}
    epoch_steps = {name: _step(found, total.steps.get(name)) for name, found in operators.items()}
    wrong: dict[str, int] = {}
    for found in differences(epoch_edges, epoch_steps, "epoch"):
        log.error("epoch %s does not add up: %s; see `dataflare audit flow`", made.epoch, found.message)
        wrong[found.place] = made.epoch
    proof = replace(
        old,
        steps={name: _step(found, total.steps.get(name)) for name, found in old.steps.items()},
        sinks={
            name: _kept(old.sinks.get(name, SinkProof()), total.kept.get(name)) for name in {**old.sinks, **total.kept}
        },
        differs={**wrong, **old.differs},
    )
    edges = {edge: _edge(edges.get(edge, EdgeProof()), total, edge) for edge in {**edges, **epoch_edges}}
    return replace(made, proofs=edges, proof=proof)


def _other_edges(edges: Mapping[str, EdgeProof], total: Sums) -> bool:
    """Is an edge summed up now that was only counted before, or the other way round?"""
    return any(
        (edges[edge].digest == COUNTED) != (sent.digest is None) for edge, sent in total.sent.items() if edge in edges
    )


def _shape(steps: Mapping[str, StepProof]) -> dict[str, StepProof]:
    return {name: replace(step, read=0, written=0, refused=0) for name, step in steps.items()}


def _step(step: StepProof, counts: Counts | None) -> StepProof:
    if counts is None:
        return step
    refused = step.refused + counts.rejected
    return replace(step, read=step.read + counts.rows_in, written=step.written + counts.rows_out, refused=refused)


def _edge(proof: EdgeProof, total: Sums, edge: str) -> EdgeProof:
    sent, taken = total.sent.get(edge, Sum()), total.taken.get(edge, Sum())
    if sent.digest is None or taken.digest is None:
        sent, taken = Sum(sent.rows, None), Sum(taken.rows, None)
    return EdgeProof(
        proof.rows + sent.rows,
        _added(proof.digest, sent.digest),
        proof.taken_rows + taken.rows,
        _added(proof.taken_digest, taken.digest),
    )


def _kept(proof: SinkProof, kept: Sum | None) -> SinkProof:
    if kept is None:
        return proof
    return SinkProof(proof.rows + kept.rows, _added(proof.digest, kept.digest))


def _added(digest: str, more: int | None) -> str:
    return COUNTED if more is None or digest == COUNTED else str((int(digest) + more) % MODULUS)
