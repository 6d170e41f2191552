"""Starting anew: a new incarnation, and the old one stays where that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome


def build(folder: Path, rows: int) -> Flow:
    flow = Flow("t", base=folder)
    made = flow.source("made", "std/generate", rows=rows, columns={"n": "sequence"})
    firsts = made.step("firsts", "std/dedupe", key=["n"])
    firsts.sink("out", "std/files", path="out.jsonl")
    return flow


def written(folder: Path) -> list[int]:
    return [json.loads(line)["n"] for line in (folder / "out.jsonl").read_text().splitlines()]


def test_a_refused_new_start_leaves_the_state_as_it_was(
    tmp_path: Path, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    flow = build(tmp_path, 50)
    assert run(flow).written == 50
    before = store(flow).load("t", "made")
    refused = run(flow, from_start=True)
    assert refused.status == "failed"
    assert refused.problems[0].code == "sink.not_empty"
    after = store(flow).load("t", "made")
    assert before is not None
    assert after is not None
    assert (after.incarnation, after.epoch) == (before.incarnation, before.epoch)
    assert run(flow).nothing_new
    assert written(tmp_path) == list(range(50))


def test_a_new_start_forgets_keys_and_begins_a_new_incarnation(
    tmp_path: Path, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    flow = build(tmp_path, 50)
    run(flow)
    before = store(flow).load("t", "made")
    assert run(flow, from_start="append", existing="append").written == 50
    assert sorted(written(tmp_path)) == sorted([*range(50), *range(50)])
    after = store(flow).load("t", "made")
    assert before is not None
    assert after is not None
    assert after.incarnation != before.incarnation
    assert run(flow, from_start="replace", existing="replace").written == 50
    assert written(tmp_path) == list(range(50))
