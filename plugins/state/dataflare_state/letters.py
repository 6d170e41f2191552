"""``dataflare dlq list | show | replay | drop``: the rows that steps refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataflare import command, field
from dataflare.checkpoint import Letter, LetterStatus
from dataflare.errors import ConfigError
from dataflare_state.opening import Kept, kept_of

Json = Any
Ids = tuple[int, ...]


@command(group="dlq", name="dlq.list")
def list_letters(host: Any, flow: Path) -> Json:
    """Count dead letters by step and code."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    with kept_of(host, flow) as kept:
        for letter in kept.store.letters(kept.flow, status=None):
            group = groups.setdefault(
                (letter.step, letter.code),
                {"step": letter.step, "code": letter.code, "waiting": 0, "replayed": 0, "dropped": 0},
            )
            group[letter.status] += letter.count
            group["last"], group["message"] = letter.at, letter.message
    return list(groups.values())


@command(group="dlq", name="dlq.show")
def show(
    host: Any,
    flow: Path,
    *,
    step: str | None = field(default=None, help="Only what this step refused."),
    code: str | None = field(default=None, help="Only what was refused for this reason."),
    status: LetterStatus = field(default="waiting", help="waiting, replayed or dropped."),
    limit: int = field(default=20, ge=1, help="At most so many letters, the oldest first."),
) -> Json:
    """Show dead letters with their rows, places and reasons."""
    with kept_of(host, flow) as kept:
        found = kept.store.letters(kept.flow, step=step, code=code, status=status, limit=limit)
        return [_told(letter) for letter in found]


@command(group="dlq", name="dlq.drop")
def drop(
    host: Any,
    flow: Path,
    *,
    step: str | None = field(default=None, help="Only what this step refused."),
    code: str | None = field(default=None, help="Only what was refused for this reason."),
    ids: Ids = field(default=(), help="Only these letters."),
) -> Json:
    """Mark waiting dead letters dropped: they stay to be seen, and are not replayed."""
    with kept_of(host, flow) as kept:
        chosen = [letter.id for letter in _waiting(kept, step, code, ids)]
        dropped = host.change("dlq.drop", kept.flow, lambda: kept.store.drop_letters(kept.flow, chosen))
        return {"flow": kept.flow, "letters": dropped}


@command(group="dlq", name="dlq.replay")
def replay(
    host: Any,
    flow: Path,
    *,
    step: str | None = field(default=None, help="Only what this step refused."),
    code: str | None = field(default=None, help="Only what was refused for this reason."),
    ids: Ids = field(default=(), help="Only these letters."),
) -> Json:
    """Send dead letters once more to the step that refused them: in the running flow, else in a run for it.

    What a source could not read cannot go back into it: such letters stay, and the answer counts them (`left`).
    """
    from dataflare_host.run import outcome_json, run_plan

    wanted = {"step": step, "code": code, "ids": list(ids) or None}
    plan = host.plan(flow)
    with kept_of(host, flow) as kept:
        waiting = list(_waiting(kept, step, code, ids))
    raw = [letter for letter in waiting if letter.step in plan.steps and plan.steps[letter.step].kind == "source"]
    if raw and len(raw) == len(waiting):
        raise ConfigError.of(
            "letter.raw",
            f"what `{raw[0].step}` could not read cannot be replayed: no step has seen it as rows",
            fix="mend the input and let the source read it again, or take the bytes with `dataflare dlq export`; "
            "then `dataflare dlq drop` them",
        )
    left = {"left": {"letters": len(raw), "rows": sum(letter.count for letter in raw)}} if raw else {}
    try:
        return {**host.command(str(flow), "replay", wanted), **left}
    except ConfigError as error:
        if error.code != "run.not_running":
            raise
    if not waiting:
        return {"flow": plan.name, "letters": 0}
    plan = replace(plan, options={**plan.options, "replay": wanted})
    return {"letters": len(waiting) - len(raw), **left, **outcome_json(plan, run_plan(plan, host))}


def _waiting(kept: Kept, step: str | None, code: str | None, ids: Ids) -> Iterator[Letter]:
    found = kept.store.letters(kept.flow, step=step, code=code)
    return (letter for letter in found if not ids or letter.id in ids)


def _told(letter: Letter) -> dict[str, Json]:
    named = ("id", "step", "input", "code", "message", "plugin", "split", "place", "epoch", "attempts", "status", "at")
    return {**{name: getattr(letter, name) for name in named}, "count": letter.count, "rows": _rows(letter.rows)}


def _rows(content: bytes) -> Json:
    import pyarrow as pa

    from dataflare.json_rows import to_json_rows

    with pa.ipc.open_stream(content) as reader:
        return [row for batch in reader for row in to_json_rows(batch)]
