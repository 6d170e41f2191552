"""What a runner tells people: live status, and the totals of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.work import Counts

if TYPE_CHECKING:
    from dataflare_pipeline.runner import FlowRunner


def totals(runner: FlowRunner) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Rows of this run in committed epochs: in all, and by step (read = rows in, for a source: rows found)."""
    counts = {step: found for run in list(runner.regions.values()) for step, found in run.written.items()}
    return _rows(runner, counts), {
        step: {"read": c.rows_in, "written": c.rows_out, "rejected": c.rejected, "dropped": c.dropped}
        for step, c in counts.items()
    }


def live_status(runner: FlowRunner) -> dict[str, Any]:
    """The answer to the command ``status``; counts include rows that no epoch holds yet."""
    plan, runs = runner.session.plan, list(runner.regions.values())
    counts = {step: found for run in runs for step, found in run.counts().items()}
    states: dict[str, str] = {}
    queued: dict[str, tuple[int, int]] = {}
    for run in runs:
        for lane in run.lanes():
            states[lane.step] = lane.state if states.get(lane.step) in (None, "idle") else states[lane.step]
            ports = list(lane.inbox.ports)
            rows, size = queued.get(lane.step, (0, 0))
            queued[lane.step] = rows + sum(p.rows for p in ports), size + sum(p.bytes for p in ports)
    seconds = max(time.monotonic() - runner.started, 1e-9)
    problem = runner.problem or next((run.status.problem for run in runs if run.status.problem), None)
    blocked = any(run.status.state == "blocked" for run in runs)
    return {
        "flow": plan.name,
        "status": "blocked" if blocked else runner.state,
        "epoch": max((run.status.epoch for run in runs), default=0),
        "committed_at": max((run.status.committed_at for run in runs), default=""),
        "guarantee": plan.guarantee.effective,
        "seconds": seconds,
        "rows": _rows(runner, counts),
        "steps": {
            name: {
                "kind": step.kind,
                "in": (c := counts.get(name, Counts())).rows_in,
                "out": c.rows_out,
                "rejected": c.rejected,
                "dropped": c.dropped,
                "rate": max(c.rows_in, c.rows_out) / seconds,
                "state": states.get(name, ""),
                "queue_rows": queued.get(name, (0, 0))[0],
                "queue_bytes": queued.get(name, (0, 0))[1],
                "circuit": runner.session.circuit(name).as_json(),
            }
            for name, step in plan.steps.items()
        },
        "progress": _progress(runner),
        "lag": _lag(runner),
        "metrics": {step: dict(found.values) for step, found in runner.session.metrics.items() if found.values},
        "problem": None if problem is None else problem.as_json(),
    }


def _rows(runner: FlowRunner, counts: dict[str, Counts]) -> dict[str, int]:
    steps = runner.session.plan.steps
    sources = [c for name, c in counts.items() if steps[name].kind == "source"]
    sinks = [c for name, c in counts.items() if steps[name].kind == "sink"]
    return {
        "read": sum(c.rows_out + c.rejected + c.dropped for c in sources),
        "written": sum(c.rows_out for c in sinks),
        "rejected": sum(c.rejected for c in counts.values()),
        "dropped": sum(c.dropped for c in counts.values()),
    }


def _progress(runner: FlowRunner) -> dict[str, Any]:
    """How much of the splits' sizes is read, in the source's own unit; total None where a size is unknown."""
    done = total = 0.0
    known = False
    for run in list(runner.regions.values()):
        for lane in run.lanes():
            if isinstance(lane, SourceLane) and lane.step in runner.session.plan.steps:
                done += lane.progress()
                if lane.number == 0:
                    sizes = lane.book.sizes().values()
                    known = known or bool(sizes)
                    total += (
                        sum(size or 0 for size in sizes) if all(size is not None for size in sizes) else float("inf")
                    )
    return {"done": done, "total": total if known and total != float("inf") and total > 0 else None, "unit": "size"}


def _lag(runner: FlowRunner) -> dict[str, Any]:
    """Splits that nobody has begun yet, by source."""
    return {
        lane.step: lane.book.waiting()
        for run in list(runner.regions.values())
        for lane in run.lanes()
        if isinstance(lane, SourceLane) and lane.number == 0 and lane.step in runner.session.plan.steps
    }
