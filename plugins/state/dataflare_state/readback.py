"""Targets read back, and compared with the rows that their sinks committed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dataflare import Sink
from dataflare.calling import is_overridden
from dataflare.checkpoint import Checkpoint
from dataflare.context import Context
from dataflare.digest import MODULUS, algorithm, comparable, digest
from dataflare.drive import SinkDriver
from dataflare.grants import services
from dataflare.schema import Schema
from dataflare.split import Resume
from dataflare_host.plan import Plan
from dataflare_state.opening import Kept, leased

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare_host.app import Host

Json = Any


def compared(host: Host, flow: Path, kept: Kept, newest: list[Checkpoint]) -> dict[str, Json]:
    """For each sink: how its target compares with what it committed. ``ok`` is None where that cannot be told."""
    plan = host.plan(flow)
    told: dict[str, Json] = {}
    for made in newest:
        with leased(kept, made.region) as fence:
            for name in made.proof.sinks:
                if name in plan.steps:
                    told[name] = _compared(host, plan, name, made, fence)
    return told


def _compared(host: Host, plan: Plan, name: str, made: Checkpoint, fence: int) -> Json:
    sink, wanted = cast(Sink[Any], host.step(plan, name)), made.proof.sinks[name]
    why = _not_comparable(sink, made)
    if why is not None:
        return {"ok": None, "message": f"not compared: {why}"}
    rows, total, schema = 0, 0, None
    with _opened(host, plan, sink, name, made, fence) as driver:
        for batch in driver.readback():
            rows, total, schema = rows + len(batch), (total + digest(batch.arrow)) % MODULUS, batch.schema
    found = {"rows": rows, "digest": str(total), "expected": {"rows": wanted.rows, "digest": wanted.digest}}
    if rows != wanted.rows:
        return {"ok": False, "message": f"the target holds {rows:,} rows, {wanted.rows:,} were committed", **found}
    if str(total) == wanted.digest:
        return {"ok": True, "message": f"the target holds the {rows:,} rows that were committed", **found}
    changed = _changed(plan, name, schema)
    if made.proof.by != algorithm():
        changed = f"the digests were made by {made.proof.by}"
    if changed:
        message = f"the target holds {rows:,} rows, as committed; digests not compared: {changed}"
        return {"ok": True, "message": message, **found}
    return {"ok": False, "message": f"the target holds {rows:,} rows, and other ones than were committed", **found}


def _not_comparable(sink: Sink[Any], made: Checkpoint) -> str | None:
    ability = sink.spec.get("ability")
    if not is_overridden(type(sink), "readback"):
        return "the sink cannot read its target"
    if sink.spec.get("shared") == "process":
        return "the sink keeps no rows"
    if ability == "idempotent" or getattr(sink, "mode", None) == "upsert":
        return "the sink replaces rows by their key"
    if made.proof.since:
        return f"the sums begin after epoch {made.proof.since}, the target's rows may not"
    if not made.settled:
        return f"epoch {made.epoch} is decided and not carried out yet; run the flow once more"
    return None


@contextmanager
def _opened(host: Host, plan: Plan, sink: Sink[Any], name: str, made: Checkpoint, fence: int) -> Iterator[SinkDriver]:
    """A lane of the sink, as the next run would open it."""
    base = Path(plan.base)
    context = Context(
        id=f"{plan.name}-{name}-0",
        flow=plan.name,
        step=name,
        epoch=made.epoch + 1,
        fence=fence,
        incarnation=made.incarnation,
        base=base,
        cache=base / ".dataflare" / "cache" / plan.name / name / "0",
        **services(name, plan.steps[name].grants, host, flow=plan.name, base=base),
    )
    with closing(SinkDriver(sink, context)) as driver:
        for edge in plan.inputs(name):
            if edge.schema is not None:
                driver.plan(Schema.from_json(edge.schema))
        driver.open(Resume(made.epoch, made.tokens.get(name, {}), made.made.get(name), made.incarnation))
        yield driver


def _changed(plan: Plan, name: str, found: pa.Schema | None) -> str | None:
    """Why rows of the target cannot have the digests that they were committed with."""
    schemas = [Schema.from_json(edge.schema) for edge in plan.inputs(name) if edge.schema is not None]
    if not schemas or found is None:
        return "the columns are not known"
    for schema in schemas:
        for column in schema.arrow:
            if column.name not in found.names:
                return f"`{column.name}` is not in the target"
            there = found.field(column.name).type
            if not comparable(there, column.type):
                return f"`{column.name}` is {there} in the target, not {column.type}"
    return None
