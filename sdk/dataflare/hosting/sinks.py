"""The operations of a sink that a guest answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.guest.encoding import decode_rejects
from dataflare.hosting.component import SNAPSHOTS, discover, remote, told_rows
from dataflare.hosting.rows import moved, slices
from dataflare.split import Json

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.context import Context
    from dataflare.schema import Schema


def _plan(self: Any, schema: Schema, ctx: Context) -> None:
    mine = remote(self)
    mine.inputs = {"": schema}
    mine.caller.grown(mine.inputs)
    if "plan" in type(self).__dataflare_guest__ or mine.caller.is_open:
        mine.caller.anyhow("plan", ctx, schemas={"": schema.as_json()})


def _begin(self: Any, epoch: int) -> None:
    remote(self).caller.ask("begin", losing="epoch", epoch=epoch)


def _write(self: Any, batch: Batch, ctx: Context) -> None:
    mine = remote(self)
    for first, part in slices(batch):
        content = mine.caller.encode(part)
        words = {"part": 0, "stream": batch.envelope.stream, "epoch": ctx.epoch, "clock": ctx.clock.now().isoformat()}
        answer = mine.caller.ask("write", [content], losing="epoch", **words)
        refused = decode_rejects(answer.header.get("rejects") or (), answer.parts, len(part))
        batch.ledger.entries += [moved(each, part, first) for each in refused]


def _prepare(self: Any, epoch: int, last: bool) -> Json:
    caller = remote(self).caller
    token = caller.ask("prepare", losing="epoch", epoch=epoch, last=last).header.get("token")
    if "snapshot" not in type(self).__dataflare_guest__:
        caller.settled()
        caller.renew()
    return token


def _commit(self: Any, epoch: int, tokens: list[Json]) -> None:
    remote(self).caller.ask("commit", losing="never", epoch=epoch, tokens=list(tokens))


def _abort(self: Any, epoch: int, tokens: list[Json]) -> None:
    remote(self).caller.ask("abort", epoch=epoch, tokens=list(tokens))


def _recover(self: Any) -> int | None:
    held = remote(self).caller.ask("recover").header.get("epoch")
    return None if held is None else int(held)


def _readback(self: Any, stream: str) -> Iterator[Any]:
    mine = remote(self)
    for answer in mine.caller.all("readback", stream=stream):
        for told in answer.header.get("outputs") or ():
            yield told_rows(self, told, answer.parts, mine.inputs.get(""))


ALWAYS: Mapping[str, Callable[..., Any]] = {"plan": _plan, "write": _write}
WHERE_TOLD: Mapping[str, Callable[..., Any]] = {
    "begin": _begin,
    "prepare": _prepare,
    "commit": _commit,
    "abort": _abort,
    "recover": _recover,
    "readback": _readback,
    "discover": discover,
    **SNAPSHOTS,
}
