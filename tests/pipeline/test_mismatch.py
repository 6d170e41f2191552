"""State that does not belong to the flow as it is now: refused by name, and forgotten only when that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare_flow import Flow
from dataflare_host.kinds import Outcome


def build(folder: Path, *, source: str = "made", sink: str = "out", uses: str = "std/files") -> Flow:
    flow = Flow("t", base=folder)
    made = flow.source(source, "std/generate", rows=5, columns={"n": "sequence"})
    config = {"path": "out.jsonl"} if uses == "std/files" else {"uri": "sqlite:///t.db", "table": "t"}
    made.sink(sink, uses, **config)
    return flow


def written(folder: Path) -> list[int]:
    return [json.loads(line)["n"] for line in (folder / "out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"source": "renamed"}, "made"), ({"sink": "renamed"}, "out"), ({"uses": "std/sql"}, "std/sql")],
)
def test_state_of_another_plan_is_refused_and_nothing_is_read_twice(
    change: dict[str, str], named: str, tmp_path: Path, run: Callable[..., Outcome]
) -> None:
    run(build(tmp_path))
    changed = run(build(tmp_path, **change))
    assert changed.status == "failed"
    assert changed.problems[0].code == "state.mismatch"
    assert f"`{named}`" in changed.problems[0].message
    assert changed.read == 0
    assert run(build(tmp_path)).nothing_new
    assert written(tmp_path) == list(range(5))


def test_a_new_start_forgets_what_the_flow_no_longer_has(tmp_path: Path, run: Callable[..., Outcome]) -> None:
    run(build(tmp_path))
    renamed = build(tmp_path, source="renamed")
    assert run(renamed, from_start=True).problems[0].code == "sink.not_empty"
    assert run(build(tmp_path)).nothing_new, "a refused new start forgets nothing"
    assert run(renamed, from_start="replace", existing="replace").written == 5
    assert run(renamed).nothing_new
    assert written(tmp_path) == list(range(5))
    assert run(build(tmp_path)).problems[0].code == "state.mismatch"


def test_a_source_found_more_is_read_without_waiting_for_an_interval(
    tmp_path: Path, run: Callable[..., Outcome]
) -> None:
    """The interval is an hour: an epoch that holds where the new split starts comes by itself."""
    flow = Flow("t", base=tmp_path)
    flow.checkpoint = {"interval": 3600}
    flow.source("lines", "std/files", path="in/").sink("out", "std/files", path="out.jsonl")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"n": 1}\n')
    assert run(flow).written == 1
    assert run(flow).nothing_new
    (tmp_path / "in" / "b.jsonl").write_text('{"n": 2}\n')
    assert run(flow).written == 1
    assert written(tmp_path) == [1, 2]
