"""``dataflare state inspect | reset | resolve``: look at what a flow keeps, and change it by hand."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataflare import command, field
from dataflare.checkpoint import Changes, Checkpoint, Letter
from dataflare.errors import ConfigError, StateError
from dataflare.owner import described, is_dead
from dataflare_state.going_back import go_back
from dataflare_state.opening import Kept, kept_of, leased
from dataflare_state.unmaking import unmake

if TYPE_CHECKING:
    from dataflare_host.app import Host

Json = Any


@command(group="state", name="state.inspect")
def inspect(
    host: Any, flow: Path, *, epoch: int | None = field(default=None, help="A kept older epoch instead of the last.")
) -> Json:
    """Show what a flow keeps: epoch, splits with positions, tokens, counts, schemas, history, lease."""
    with kept_of(host, flow) as kept:
        regions = {region: _region(kept, region, epoch) for region in kept.regions()}
        waiting = Counter(letter.status for letter in kept.store.letters(kept.flow, status=None))
        return {"flow": kept.flow, "store": kept.uses, "letters": dict(waiting), "regions": regions}


@command(group="state", name="state.reset")
def reset(
    host: Any,
    flow: Path,
    *,
    yes: bool = field(default=False, help="Yes, forget it."),
    keep_made: bool = field(default=False, help="Leave what steps made once (a slot, a table) where it is."),
    to_epoch: int | None = field(default=None, help="Do not begin anew: go back to this kept epoch."),
    region: str | None = field(default=None, help="With --to-epoch: the region, where several have that epoch."),
) -> Json:
    """Forget positions, state and waiting dead letters of a flow that does not run: the next run begins anew."""
    with kept_of(host, flow) as kept:
        regions = kept.regions()
        if to_epoch is not None:
            told = _audited(host, "state.reset", kept.flow, lambda: go_back(kept, to_epoch, region), epoch=to_epoch)
            return {"flow": kept.flow, **told}
        if regions and not yes:
            raise ConfigError.of(
                "cli.confirm",
                f"this forgets the positions, the state and the waiting dead letters of `{kept.flow}`",
                fix="add --yes",
            )

        def forget() -> Json:
            with ExitStack() as leases:
                tokens = {region: leases.enter_context(leased(kept, region)) for region in regions}
                undone = [] if keep_made else unmake(host, flow, kept)
                for region, token in tokens.items():
                    kept.store.reset(kept.flow, region, token)
            return {"reset": regions, "undone": undone}

        return {"flow": kept.flow, **_audited(host, "state.reset", kept.flow, forget)}


@command(group="state", name="state.resolve")
def resolve(
    host: Any,
    flow: Path,
    *,
    sink: str = field(help="The sink that refuses to commit."),
    epoch: int = field(help="The epoch that it refuses."),
    as_: Literal["committed", "dead_letter"] = field(help="committed: its rows are there; dead_letter: they are not."),
) -> Json:
    """Pass over a commit that a sink refuses for good (`commit_pending`); the guarantee is then broken there."""
    with kept_of(host, flow) as kept:
        region = _pending(kept, sink, epoch).region

        def settle() -> Json:
            with leased(kept, region) as token:
                pending = _pending(kept, sink, epoch)
                changes = Changes(letters=[_lost(kept, pending, sink)] if as_ == "dead_letter" else [])
                made = _passed(pending, sink)
                kept.store.commit(made, changes, token)
            return {"flow": kept.flow, "epoch": made.epoch, "guarantee": made.guarantee, "left": list(made.tokens)}

        return _audited(host, "state.resolve", kept.flow, settle, sink=sink, epoch=epoch, answer=as_)


def _region(kept: Kept, region: str, epoch: int | None) -> Json:
    lease = kept.store.lease_info(kept.flow, region)
    held = None
    if lease is not None:
        state = "released" if lease.released else "dead" if is_dead(lease) else "held"
        held = {"token": lease.token, "state": state, "owner": described(lease)}
    found = kept.store.load(kept.flow, region, epoch)
    if found is None and epoch is not None:
        raise ConfigError.of(
            "state.unknown_epoch",
            f"epoch {epoch} of `{kept.flow}` is not kept",
            fix="see `history` for those that are",
        )
    history = [asdict(info) for info in kept.store.history(kept.flow, region)]
    told = {} if found is None else _told(found)
    return {"lease": held, **told, "history": history}


def _told(checkpoint: Checkpoint) -> dict[str, Json]:
    """A checkpoint for people: snapshots as sizes, schemas as columns."""
    told = checkpoint.as_json()
    for name in ("flow", "region"):
        del told[name]
    told["snapshots"] = {
        step: {lane: f"{len(text) * 3 // 4} bytes" for lane, text in lanes.items()}
        for step, lanes in checkpoint.snapshots.items()
    }
    told["schemas"] = {edge: _columns(schema) for edge, schema in checkpoint.schemas.items()}
    return told


def _columns(schema: Json) -> Json:
    if isinstance(schema, dict) and "columns" in schema:
        return {column["name"]: column["type"] for column in schema["columns"]}
    return schema


def _pending(kept: Kept, sink: str, epoch: int) -> Checkpoint:
    """The unsettled checkpoint that waits for this sink. Raises StateError where none does."""
    loaded = [kept.store.load(kept.flow, region) for region in kept.regions()]
    for found in loaded:
        if found is not None and sink in found.tokens and found.epoch == epoch and not found.settled:
            return found
    waits = [f"epoch {found.epoch} for {', '.join(found.tokens)}" for found in loaded if found and not found.settled]
    raise StateError.of(
        "state.nothing_pending",
        f"no commit of epoch {epoch} by `{sink}` is pending in `{kept.flow}`",
        kind="config",
        cause=f"what is pending: {'; '.join(waits) or 'nothing'}",
        fix="look with `dataflare state inspect`",
    )


def _passed(pending: Checkpoint, sink: str) -> Checkpoint:
    """The epoch after: no rows, not this sink's tokens, a broken guarantee. Other sinks still commit."""
    left = {step: tokens for step, tokens in pending.tokens.items() if step != sink}
    return replace(
        pending,
        epoch=pending.epoch + 1,
        tokens=left,
        guarantee=[*pending.guarantee, f"broken at {pending.epoch}"],
        committed_at="",
    )


def _lost(kept: Kept, pending: Checkpoint, sink: str) -> Letter:
    """A record of rows that a sink prepared and will not commit. They are with the sink, so they cannot be replayed."""
    import pyarrow as pa

    before = kept.store.load(kept.flow, pending.region, pending.epoch - 1)
    edges = [edge for edge in pending.proofs if edge.partition("->")[2].partition(".")[0] == sink]
    rows = sum(pending.proofs[edge].rows for edge in edges)
    if before is not None:
        rows -= sum(before.proofs[edge].rows for edge in edges if edge in before.proofs)
    nothing = pa.BufferOutputStream()
    with pa.ipc.new_stream(nothing, pa.schema([])):
        pass
    return Letter(
        kept.flow,
        pending.region,
        sink,
        "commit_pending",
        f"`{sink}` refused to commit epoch {pending.epoch}; passed over by hand",
        pending.epoch,
        rows if edges and before is not None else 0,
        nothing.getvalue().to_pybytes(),
        place={"epoch": pending.epoch, "tokens": pending.tokens[sink]},
        status="dropped",
    )


def _audited(host: Host, action: str, flow: str, work: Any, **details: Any) -> Json:
    return host.change(action, flow, work, details)
