"""The checkpoint of an epoch, composed from what the lanes handed over at its barrier."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dataflare.checkpoint import Changes, Checkpoint, SplitState, StepCounts
from dataflare.errors import StateError
from dataflare.local import PREFIX as LOCAL
from dataflare.split import Json
from dataflare_host.layout import Layout, Region
from dataflare_host.plan import Plan
from dataflare_pipeline.asked import Edit
from dataflare_pipeline.lane import Report
from dataflare_pipeline.splits import SplitBook
from dataflare_pipeline.work import Counts

ENGINE = "pipeline 0.1"


def first_checkpoint(plan: Plan, region: Region, layout: Layout) -> Checkpoint:
    """Epoch 0 of a new incarnation: nothing read, nothing written."""
    return Checkpoint(plan.name, region.name, str(uuid.uuid4()), 0, layout.number, settled=True)


def check_fits(checkpoint: Checkpoint, plan: Plan, region: Region) -> None:
    """Raises StateError (``state.mismatch``, ``state.layers``) where checkpoint and plan do not belong together."""
    if checkpoint.layers:
        raise StateError.of(
            "state.layers",
            f"the state of `{plan.name}` went through the layers {', '.join(checkpoint.layers)}, the flow has none",
            cause="the flow's `layers` are others than when it ran last",
            fix="give `state:` its old `layers` back; to change them, copy the state: `dataflare state copy`",
        )
    if checkpoint.moved:
        raise StateError.of(
            "state.moved",
            f"the state of `{plan.name}` was copied to {checkpoint.moved}, and the flow goes on there",
            cause="two stores that both went on would give the sinks different rows under the same epochs",
            fix=f"name that store under `state:`; to go on here all the same: `dataflare state reset` with "
            f"`--to-epoch {checkpoint.epoch}`",
        )
    stateful = {**checkpoint.splits, **checkpoint.tokens, **checkpoint.snapshots, **checkpoint.keyed}
    fix = "give the step its old name and settings back, name the flow anew, or begin again with `--from-start`"
    for step in stateful:
        if step not in region.steps:
            raise StateError.of(
                "state.mismatch", f"the state holds the step `{step}`, which the flow no longer has", fix=fix
            )
        # A component of this program goes by its version alone.
        uses = checkpoint.plugins.get(step, "").rpartition("==")[0]
        if uses and uses != plan.steps[step].uses and not uses.startswith(LOCAL):
            raise StateError.of(
                "state.mismatch",
                f"the state of `{step}` was made by `{uses}`, the flow now uses `{plan.steps[step].uses}`",
                fix=fix,
            )
    for step, columns in checkpoint.keyed.items():
        if list(plan.steps[step].keyed) != columns:
            raise StateError.of(
                "state.mismatch",
                f"the state of `{step}` is by {columns}, the flow says {list(plan.steps[step].keyed)}",
                fix=fix,
            )
    for step, version in {**checkpoint.position_versions, **checkpoint.state_versions}.items():
        now = version_of(plan, step)
        if now < version:
            raise StateError.of(
                "state.mismatch",
                f"the state of `{step}` has version {version}, its component is older ({now})",
                fix="use the newer version of the plugin",
            )


def compose(
    before: Checkpoint, plan: Plan, epoch: int, reports: Iterable[Report], books: Mapping[str, SplitBook], last: bool
) -> tuple[Checkpoint, Changes]:
    """The next checkpoint and the changes that go with it."""
    reports = list(reports)
    made = replace(
        before,
        epoch=epoch,
        settled=False,
        finished=last,
        engine=ENGINE,
        plan=plan.digest,
        committed_at=datetime.now(UTC).isoformat(),
        plugins=_plugins(plan),
        keyed={name: list(plan.steps[name].keyed) for name in _steps(plan, reports) if plan.steps[name].by_key},
        splits=dict(before.splits),
        discovery=dict(before.discovery),
        tokens={},
        snapshots={},
        schemas=dict(before.schemas),
        watermarks=dict(before.watermarks),
        counts=dict(before.counts),
        state_versions={},
        position_versions={},
    )
    changes = Changes()
    read: dict[str, dict[str, SplitState]] = {}
    for report in reports:
        step, _, lane = report.lane.rpartition(".")
        read.setdefault(step, {}).update(report.splits)
        _take_report(made, changes, report, step, lane)
    for name, book in books.items():
        made.splits[name], made.discovery[name] = book.listing(read.get(name, {}))
        made.position_versions[name] = version_of(plan, name)
    for name in {*made.keyed, *made.snapshots}:
        made.state_versions[name] = version_of(plan, name)
    changes.letters = [replace(letter, epoch=epoch) for letter in changes.letters]
    return made, changes


def without_rows(before: Checkpoint, plan: Plan, **changes: Any) -> Checkpoint:
    """The next epoch, where nothing was read and only ``changes`` differ; settled, since no sink takes part."""
    now = datetime.now(UTC).isoformat()
    return replace(
        before,
        epoch=before.epoch + 1,
        settled=True,
        plan=plan.digest,
        plugins=_plugins(plan),
        committed_at=now,
        **changes,
    )


def made_with(plan: Plan, made: Mapping[str, Json]) -> dict[str, Json]:
    """The configuration of each step that made something; a change of it is told to ``on_updated``."""
    return {step: plan.steps[step].config for step in made if step in plan.steps}


def edited(before: Checkpoint, plan: Plan, edits: Iterable[Edit]) -> tuple[Checkpoint | None, list[Edit]]:
    """The epoch with a person's positions, and the edits that it holds; the others are answered with an error."""
    splits = {step: {state.id: state for state in listed} for step, listed in before.splits.items()}
    done: list[Edit] = []
    for edit in edits:
        state = splits.get(edit.step, {}).get(edit.split)
        if state is None:
            error = StateError.of("state.unknown_split", f"`{edit.step}` has no split `{edit.split}`")
            edit.future.set_exception(error)
            continue
        splits[edit.step][edit.split] = replace(state, position=edit.position, status="active")
        done.append(edit)
    if not done:
        return None, done
    listed = {step: list(states.values()) for step, states in splits.items()}
    notes = [*before.guarantee, f"edited at {before.epoch + 1}"]
    return without_rows(before, plan, splits=listed, guarantee=notes, finished=False), done


def _take_report(made: Checkpoint, changes: Changes, report: Report, step: str, lane: str) -> None:
    changes.letters += report.letters
    changes.state += report.state
    changes.replayed += report.replayed
    for name, time in report.watermarks.items():
        made.watermarks[name] = max(time, made.watermarks.get(name, time), key=datetime.fromisoformat)
    for output, schema in report.schemas.items():
        made.schemas[output] = schema.as_json()
    if report.has_token:
        made.tokens.setdefault(step, {})[lane] = report.token
    for name, (number, data) in report.snapshots.items():
        made.snapshots.setdefault(name, {})[str(number)] = base64.b64encode(data).decode()
    for name, counts in report.counts.items():
        made.counts[name] = _added(made.counts.get(name, StepCounts()), counts)


def _plugins(plan: Plan) -> dict[str, str]:
    return {name: f"{step.uses}=={step.version}" for name, step in plan.steps.items()}


def _added(total: StepCounts, counts: Counts) -> StepCounts:
    return StepCounts(
        total.read + counts.rows_in,
        total.written + counts.rows_out,
        total.rejected + counts.rejected,
        total.dropped + counts.dropped,
    )


def _steps(plan: Plan, reports: Iterable[Report]) -> list[str]:
    names = [report.lane.rpartition(".")[0] for report in reports]
    return [name for name in names if name in plan.steps]


def version_of(plan: Plan, step: str) -> int:
    """The version of a step's positions and state, which its component declares."""
    return int(plan.steps[step].abilities.get("version", 1) or 1)


def tokens_of(checkpoint: Checkpoint, step: str) -> list[Json]:
    """The tokens of all lanes of a sink, in the order of the lanes."""
    return [token for _, token in sorted(checkpoint.tokens.get(step, {}).items(), key=lambda item: int(item[0]))]
