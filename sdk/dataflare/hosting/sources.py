"""The operations of a source that a guest answers."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.errors import DataflareError
from dataflare.hosting.component import discover, planned, remote, taken_over, told_rows
from dataflare.split import Idle, Json, Out, Refused, Split

if TYPE_CHECKING:
    from dataflare.context import Context
    from dataflare.guest.frames import Frame
    from dataflare.schema import Schema
    from dataflare.split import Demand


LONGEST = 10.0
"""Seconds that one ``read`` may wait for rows, whoever demands."""


def _plan(self: Any, ctx: Context) -> dict[str, Schema] | None:
    mine = remote(self)
    told = mine.caller.anyhow("plan", ctx, schemas={}).header.get("schemas")
    if told is None:
        return None
    mine.outputs = planned(told)
    return mine.outputs


def _splits(self: Any, position: Json, finished: frozenset[str], ctx: Context) -> Iterator[tuple[list[Split], Json]]:
    caller, again = remote(self).caller, False
    while True:
        given = {"position": position, "finished": sorted(finished), "again": again}
        answer = caller.ask("splits", losing=_losing(self), **given).header
        if answer.get("end"):
            return
        yield [_split(told) for told in answer.get("splits") or ()], answer.get("position")
        again = True


def _read(
    self: Any,
    split: Split,
    demand: Demand,
    columns: frozenset[str] | None,
    schema: Schema | None,
    **place: Json,
) -> Iterator[Any]:
    caller, losing = remote(self).caller, _losing(self)
    words: dict[str, Json] = {"split": split_json(split), "anew": True}
    if columns is not None:
        words["columns"] = sorted(columns)
    if "position" in place:
        words["position"] = place["position"]
    try:
        while True:
            left = min(max(0.0, demand.until - time.monotonic()), LONGEST)
            wanted = {"rows": demand.rows, "bytes": demand.bytes, "seconds": left}
            answer = caller.ask("read", losing=losing, demand=wanted, **words)
            words.pop("anew", None)
            if answer.header.get("end"):
                words.clear()
                return
            yield from _steps(self, answer, schema)
    except DataflareError:
        words.clear()
        raise
    finally:
        if words and "anew" not in words and caller.is_open:
            caller.ask("stop_reading", split=split.id)


def _steps(self: Any, answer: Frame, schema: Schema | None) -> Iterator[Any]:
    header = answer.header
    for told in header.get("refused") or ():
        raw = base64.b64decode(str(told.get("raw") or ""))
        yield Refused(str(told.get("code")), str(told.get("message") or ""), raw, told.get("place"))
    outputs = header.get("outputs") or ()
    if not outputs:
        yield Idle(header.get("after") if header.get("idle") else 0.0, header.get("position"))
        return
    mine = remote(self)
    for number, told in enumerate(outputs):
        name = str(told.get("name") or "")
        known = mine.outputs.get(name) or (schema if not name else None)
        rows = told_rows(self, told, answer.parts, known)
        given = Out(name, rows) if name else rows
        last = number == len(outputs) - 1
        yield (given, header["position"]) if last and header.get("position") is not None else given


def _acknowledge(self: Any, split: Split, position: Json) -> None:
    remote(self).caller.ask("acknowledge", split=split_json(split), position=position)


def _divide(self: Any, split: Split, **place: Json) -> list[Split]:
    at = {"position": place["position"]} if "position" in place else {}
    answer = remote(self).caller.ask("divide", split=split_json(split), **at)
    return [_split(told) for told in answer.header.get("splits") or ()]


def _migrate_position(self: Any, version: int, old: Json) -> Json:
    return _migrate_positions(self, version, [old])[0]


def _migrate_positions(self: Any, version: int, olds: list[Json]) -> list[Json]:
    return taken_over(self, "migrate_position", olds, version=version)


def _losing(self: Any) -> Any:
    """What a redelivering source has handed out comes again on a new connection: the epoch must not hold it twice."""
    return "epoch" if self.spec.get("replay") == "redelivery" else "call"


def split_json(split: Split) -> Json:
    """A split as a header has it."""
    after = list(split.after)
    return {"id": split.id, "data": split.data, "start": split.start, "after": after, "size": split.size}


def _split(told: Json) -> Split:
    return Split(str(told["id"]), told.get("data"), told.get("start"), tuple(told.get("after") or ()), told.get("size"))


ALWAYS: Mapping[str, Callable[..., Any]] = {"plan": _plan, "read": _read, "migrate_positions": _migrate_positions}
WHERE_TOLD: Mapping[str, Callable[..., Any]] = {
    "discover": discover,
    "splits": _splits,
    "acknowledge": _acknowledge,
    "divide": _divide,
    "migrate_position": _migrate_position,
}
