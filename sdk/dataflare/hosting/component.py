"""What every component of a guest has: its line to the guest, and the operations that all kinds share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Failed
from dataflare.guest.encoding import Part, json_list, part_at
from dataflare.guest.remote import problem_from
from dataflare.hosting.rows import rows_in
from dataflare.schema import Schema
from dataflare.split import Json, Resume, Stream

if TYPE_CHECKING:
    from dataflare.context import Context
    from dataflare.errors import Problem
    from dataflare.hosting.caller import Caller


@dataclass
class Remote:
    """The guest's side of one component instance, as far as its host knows it."""

    caller: Caller
    inputs: dict[str, Schema] = field(default_factory=dict)
    outputs: dict[str, Schema] = field(default_factory=dict)
    """What JSON rows of an answer are read as."""


def remote(component: Any) -> Remote:
    """What a component of a guest knows of it."""
    found: Remote = vars(component)["_remote"]
    return found


def planned(told: Json) -> dict[str, Schema]:
    """Name → schema, of an answer. Raises ConfigError ``guest.schema`` for what describes none."""
    try:
        return {str(name): Schema.from_json(schema) for name, schema in dict(told or {}).items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError.of("guest.schema", "a guest told of a schema that is none", cause=str(error)) from error


def told_rows(component: Any, told: Mapping[str, Json], parts: Sequence[Part], known: Schema | None) -> Any:
    """The rows of one of an answer's ``outputs``, of which ``known`` is what was planned."""
    schema = told.get("schema")
    own = None if schema is None else planned({"": schema})[""]
    return rows_in(part_at(parts, told.get("part")), remote(component).caller.encoding, known, own)


def taken_over(component: Any, op: str, olds: list[Json], **words: Json) -> list[Json]:
    """What a guest makes of an older version's values. Raises NotImplementedError where its author wrote nothing."""
    if op not in type(component).__dataflare_guest__:
        raise NotImplementedError
    given = json.dumps(olds, separators=(",", ":")).encode()
    answer = remote(component).caller.anyhow(op, None, [given], part=0, **words)
    made = json_list(part_at(answer.parts, answer.header.get("part")))
    if len(made) != len(olds):
        raise Failed.of("guest.migration", f"a guest made {len(made):,} values of {len(olds):,} by `{op}`")
    return made


def _open(self: Any, ctx: Context, resume: Resume) -> None:
    from dataflare.state import key_columns

    mine = remote(self)
    keys = None
    if self.kind == "processor" and (columns := key_columns(self)):
        known = next((schema for schema in mine.inputs.values() if all(name in schema for name in columns)), None)
        keys = None if known is None else known.select(list(columns))
    mine.caller.open(ctx, resume, mine.inputs, keys)


def _close(self: Any) -> None:
    remote(self).caller.close()


def _abandon(self: Any) -> None:
    remote(self).caller.abandon()


def _check(self: Any, ctx: Context) -> list[Problem]:
    told = remote(self).caller.once("check", ctx).header.get("problems") or ()
    return [problem_from(each) for each in told]


def _on_created(self: Any, ctx: Context) -> Json:
    return remote(self).caller.anyhow("on_created", ctx).header.get("made")


def _on_updated(self: Any, ctx: Context, made: Json, before: Mapping[str, Any]) -> Json:
    return remote(self).caller.anyhow("on_updated", ctx, made=made, before=_plain(before)).header.get("made")


def _on_deleted(self: Any, ctx: Context, made: Json) -> None:
    remote(self).caller.anyhow("on_deleted", ctx, made=made)


def _plain(value: Any) -> Json:
    from dataflare.json_types import plain_json

    return plain_json(value)


def discover(self: Any, ctx: Context) -> list[Stream]:
    """The streams of a source, or of what a sink writes into."""
    told = remote(self).caller.once("discover", ctx).header.get("streams") or []
    return [
        Stream(
            str(each["name"]),
            None if each.get("schema") is None else planned({"": each["schema"]})[""],
            tuple(each.get("key") or ()),
            each.get("cursor"),
        )
        for each in told
    ]


def _snapshot(self: Any) -> bytes | None:
    caller = remote(self).caller
    answer = caller.ask("snapshot", losing="epoch")
    index = answer.header.get("part")
    data = None if index is None else bytes(part_at(answer.parts, index))
    if self.kind == "processor" and caller.renew() and data is not None:
        _restore(self, data, self.spec.version)
    return data


def _restore(self: Any, data: bytes, version: int) -> None:
    remote(self).caller.ask("restore", [data], losing="epoch", part=0, version=version)


ALWAYS: Mapping[str, Callable[..., Any]] = {"open": _open, "close": _close, "abandon": _abandon}
WHERE_TOLD: Mapping[str, Callable[..., Any]] = {
    "check": _check,
    "on_created": _on_created,
    "on_updated": _on_updated,
    "on_deleted": _on_deleted,
}


SNAPSHOTS: Mapping[str, Callable[..., Any]] = {"snapshot": _snapshot, "restore": _restore}
