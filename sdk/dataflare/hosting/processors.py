"""The operations of a processor that a guest answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflare.batch import Batch
from dataflare.drive.base import MAIN
from dataflare.guest.encoding import decode_rejects
from dataflare.hosting.component import SNAPSHOTS, planned, remote, taken_over, told_rows
from dataflare.hosting.rows import moved, slices
from dataflare.schema import Schema
from dataflare.split import Json, Out

if TYPE_CHECKING:
    from dataflare.context import Context
    from dataflare.guest.frames import Frame


def _plan(self: Any, schemas: Mapping[str, Schema], ctx: Context) -> dict[str, Schema]:
    mine = remote(self)
    told = {name: schema.as_json() for name, schema in schemas.items()}
    answer = (
        mine.caller.ask("plan", schemas=told) if mine.caller.is_open else mine.caller.once("plan", ctx, schemas=told)
    )
    found = answer.header.get("schemas")
    mine.inputs = dict(schemas)
    mine.outputs = {MAIN: Schema(open=True)} if found is None else planned(found)
    mine.caller.grown(mine.inputs)
    return mine.outputs


def _process(self: Any, batch: Batch, stream: str, ctx: Context) -> Iterator[Any]:
    mine = remote(self)
    name = stream if stream in mine.inputs else ""
    for first, part in slices(batch):
        content = mine.caller.encode(part)
        words = {"input": name, "stream": batch.envelope.stream, "part": 0, **_moment(ctx)}
        answer = mine.caller.ask("process", [content], losing=_losing(self), **words)
        refused = decode_rejects(answer.header.get("rejects") or (), answer.parts, len(part))
        batch.ledger.entries += [moved(each, part, first) for each in refused]
        for output, rows in _outputs(self, answer):
            if refused and isinstance(rows, Batch):
                # How many rows there are says nothing of where they come from once some were refused.
                rows = Batch(rows.arrow, batch.envelope, origin=False, ledger=batch.ledger)
            yield Out(output, rows)
    if _losing(self) == "call":
        mine.caller.renew()


def _timer(self: Any, keys: Batch, time: datetime, ctx: Context) -> Iterator[Any]:
    caller = remote(self).caller
    answer = caller.ask(
        "timer", [caller.encode(keys)], losing=_losing(self), part=0, time=time.isoformat(), **_moment(ctx)
    )
    return _given(self, answer)


def _watermark(self: Any, time: datetime, ctx: Context) -> Iterator[Any]:
    words = {"time": time.isoformat(), **_moment(ctx)}
    return _given(self, remote(self).caller.ask("watermark", losing=_losing(self), **words))


def _finish(self: Any, ctx: Context) -> Iterator[Any]:
    return _given(self, remote(self).caller.ask("finish", losing=_losing(self), **_moment(ctx)))


def _migrate_state(self: Any, version: int, name: str, value: Json) -> Json:
    return _migrate_states(self, version, name, [value])[0]


def _migrate_states(self: Any, version: int, name: str, values: list[Json]) -> list[Json]:
    return taken_over(self, "migrate_state", values, version=version, name=name)


def _given(self: Any, answer: Frame) -> Iterator[Any]:
    return iter([Out(output, rows) for output, rows in _outputs(self, answer)])


def _outputs(self: Any, answer: Frame) -> Iterator[tuple[str, Any]]:
    mine = remote(self)
    for told in answer.header.get("outputs") or ():
        output = str(told.get("name") or MAIN)
        yield output, told_rows(self, told, answer.parts, mine.outputs.get(output))


def _losing(self: Any) -> Any:
    """What a component with a snapshot of its own has gathered since the last epoch is in its instance only."""
    return "epoch" if "snapshot" in type(self).__dataflare_guest__ else "call"


def _moment(ctx: Context) -> dict[str, Json]:
    seed = str(ctx.random.getrandbits(64))
    return {"epoch": ctx.epoch, "clock": ctx.clock.now().isoformat(), "seed": seed}


ALWAYS: Mapping[str, Callable[..., Any]] = {"plan": _plan, "process": _process, "migrate_states": _migrate_states}
WHERE_TOLD: Mapping[str, Callable[..., Any]] = {
    "timer": _timer,
    "watermark": _watermark,
    "finish": _finish,
    **SNAPSHOTS,
    "migrate_state": _migrate_state,
}
