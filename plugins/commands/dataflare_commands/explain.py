"""How a flow will run, as data: guarantee with reasons, schemas, fused chains, splits, columns that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflare_host.plan import Guarantee, Plan, StepPlan

if TYPE_CHECKING:
    from dataflare_host.app import Host

SHOWN_SPLITS = 1000


def explain(plan: Plan, host: Host) -> dict[str, Any]:
    """The plan in words and tables. Asks each source for its splits, and reads nothing.

    ``schemas`` are column → Arrow type by step and output (a sink's input: ``in``), None where only reading tells;
    ``chains`` are the steps that run fused; ``columns`` the only ones that a source is asked for.
    """
    return {
        "flow": plan.name,
        "digest": plan.digest,
        "mode": plan.mode["uses"],
        "engine": plan.engine["uses"],
        "state": plan.state["uses"],
        "layers": [layer["uses"] for layer in plan.state.get("layers", ())],
        "guarantee": told_guarantee(plan),
        "steps": {name: _told_step(step) for name, step in plan.steps.items()},
        "schemas": {name: schemas_of(plan, name) for name in plan.steps},
        "chains": chains(plan),
        "columns": {edge.source: list(edge.columns) for edge in plan.edges if edge.columns is not None},
        "splits": {name: splits(plan, host, name) for name, step in plan.steps.items() if step.kind == "source"},
        "warnings": plan.options.get("warnings", []),
    }


def told_guarantee(plan: Plan) -> dict[str, Any]:
    """The guarantee: effective, wanted, and for the last edge of each path what it gives and why."""
    promise: Guarantee = plan.guarantee
    edges = []
    for path in promise.paths:
        into = [edge.id for edge in plan.inputs(path.sink) if edge.source in (path.source, *path.steps)]
        told = {"source": path.source, "sink": path.sink, "steps": list(path.steps), "edges": into}
        bits = {"loses": path.loses, "doubles": path.doubles, "visible": path.visible}
        reasons = list(path.reasons) or ["nothing on this way loses, doubles or shows rows early"]
        edges.append({**told, "effective": path.effective, **bits, "reasons": reasons})
    return {
        "effective": promise.effective,
        "wanted": promise.wanted,
        "edges": edges,
        "notes": list(promise.notes),
        "deliver_on_commit": list(promise.deliver_on_commit),
    }


def schemas_of(plan: Plan, step: str) -> dict[str, dict[str, str] | None]:
    """Output → column → type; a sink has the input ``in``."""
    if plan.steps[step].kind == "sink":
        return {"in": _columns([edge.schema for edge in plan.inputs(step)])}
    return {output: _columns([schema]) for output, schema in plan.steps[step].outputs.items()}


def _columns(schemas: list[Any]) -> dict[str, str] | None:
    from dataflare.schema import Schema

    if any(schema is None for schema in schemas):
        return None
    united = Schema()
    for schema in schemas:
        united = united.union(Schema.from_json(schema))
    return {column.name: str(column.type) for column in united}


def chains(plan: Plan) -> list[list[str]]:
    """The steps that are fused: each stateless step joins the one before it, if it is the only reader of its output."""
    chain_of: dict[str, list[str]] = {}
    for name, step in plan.steps.items():
        inputs = plan.inputs(name)
        joins = step.stateless and step.lanes is None and len(inputs) == 1
        if joins:
            edge = inputs[0]
            readers = [other for other in plan.outgoing(edge.source) if other.output == edge.output]
            joins = len(readers) == 1 and edge.exchange == "forward" and not edge.input
        chain = chain_of[inputs[0].source] if joins else []
        chain.append(name)
        chain_of[name] = chain
    distinct = {id(chain): chain for chain in chain_of.values()}
    return [chain for chain in distinct.values() if len(chain) > 1]


def splits(plan: Plan, host: Host, step: str) -> list[dict[str, Any]]:
    """The splits that a source has now: id, size, what they wait for (at most 1,000)."""
    from pathlib import Path

    from dataflare.context import Context
    from dataflare.drive import SourceDriver, driver_for
    from dataflare.grants import services
    from dataflare.split import Resume

    around: dict[str, Any] = {"flow": plan.name, "base": Path(plan.base)}
    context = Context(step=step, **around, **services(step, plan.steps[step].grants, host, **around))
    driver = driver_for(host.step(plan, step), context)
    assert isinstance(driver, SourceDriver)
    try:
        driver.open(Resume())
        first, _ = next(driver.splits(None, frozenset()), ([], None))
        return [{"id": split.id, "size": split.size, "after": list(split.after)} for split in first[:SHOWN_SPLITS]]
    finally:
        driver.close()


def _told_step(step: StepPlan) -> dict[str, Any]:
    told = {"kind": step.kind, "uses": step.uses, "version": step.version, "summary": step.summary}
    if step.kind == "source":
        return {**told, "replay": step.abilities.get("replay")}
    if step.kind == "sink":
        return {**told, "ability": step.abilities.get("ability"), "fencing": step.abilities.get("fencing")}
    return {**told, "stateless": step.stateless, "keyed": list(step.keyed), "each": step.abilities.get("each")}
