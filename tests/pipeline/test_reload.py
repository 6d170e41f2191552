"""A new version of a plugin takes over in a running flow; what does not prove itself is taken back: no row is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline.reloads import FLOW, Project, Running, bad, code, judge

from dataflare import DataflareError


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.add("1.0.0", code("1.0.0"))
    return made


@pytest.fixture
def running(project: Project) -> Iterator[Running]:
    made = Running(project)
    made.until(2)
    yield made
    if made.outcome is None:
        made.end()


def test_a_new_version_takes_over_at_a_barrier(project: Project, running: Running) -> None:
    project.add("1.1.0", code("1.1.0"))
    told = running.reload("1.1.0")
    assert (told["outcome"], told["replayed"]) == ("kept", 0)
    assert told["pause_ms"] > 0
    running.until(2)
    made = judge(running.end())
    assert set(made) == {"1.0.0", "1.1.0"}


def test_state_of_an_older_version_is_migrated(project: Project, running: Running) -> None:
    project.add("2.0.0", code("2.0.0", state=2))
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    assert set(judge(running.end())) == {"1.0.0", "2.0.0"}


@pytest.mark.parametrize("how", ["raises", "refuses", "swallows"])
def test_a_version_that_fails_in_the_flow_is_taken_back(
    project: Project, running: Running, caplog: Any, how: str
) -> None:
    project.add("1.1.0", bad("1.1.0", how))
    told = running.reload()
    assert told["outcome"] == "rolled_back"
    assert told["problem"]["message"]
    assert "does not add up" not in caplog.text
    running.until(2)
    assert set(judge(running.end())) == {"1.0.0"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def broken(:\n", "invalid syntax"),
        (code("1.1.0").replace("def process(self, batch: Batch)", "def process(self, batch: Batch, x)"), "`x`"),
        (code("1.1.0").replace('"version"', '"n"'), "other types"),
        (code("1.1.0", state=2).replace('return {"n": value}', "raise ValueError('cannot')"), "cannot"),
        (code("1.1.0").replace("made = []", "raise RuntimeError('shadow')"), "shadow"),
    ],
)
def test_a_version_that_cannot_work_is_refused_before_anything_stops(
    project: Project, running: Running, text: str, what: str
) -> None:
    project.add("1.1.0", text)
    with pytest.raises(Exception, match=what):
        running.reload()
    running.until(1)
    assert set(judge(running.end())) == {"1.0.0"}


def test_nothing_new_another_version_and_strangers_are_refused(project: Project, running: Running) -> None:
    with pytest.raises(Exception, match="as the set has it"):
        running.reload()
    project.add("1.1.0", code("1.1.0"))
    with pytest.raises(Exception, match=r"not 3\.0\.0"):
        running.reload("3.0.0")
    with pytest.raises(Exception, match="no step"):
        running.other.command(str(project.file), "swap", {"plugin": "std2"})
    with pytest.raises(Exception, match="as it is here"):
        running.other.command(str(project.file), "swap", {"plugin": "std"})


def test_many_reloads_good_and_bad(project: Project, running: Running) -> None:
    """By content: versions that work, some with state in another form, and one in five that does not."""
    kinds = ["raises", "refuses", "migrates badly", "pass"]  # the last has state of an older form
    told, state = [], 1
    for number in range(1, 21):
        version, how = f"1.{number}.0", kinds[number // 5 - 1] if number % 5 == 0 else None
        if how == "migrates badly":
            text = code(version, state=2).replace("return {", "raise ValueError('defect') or {")
        elif how is not None:
            text = bad(version, how)
        else:
            state = 2 if number > 15 else 1
            text = code(version, state)
        project.add(version, text)
        try:
            told.append(running.reload()["outcome"])
        except DataflareError:
            told.append("refused")
    wanted = ["kept"] * 20
    wanted[4] = wanted[9] = "rolled_back"
    wanted[14] = wanted[19] = "refused"
    assert told == wanted
    made = judge(running.end())
    assert len(made) >= 14
    assert not {"1.5.0", "1.10.0", "1.15.0", "1.20.0"} & set(made)


TWO = """
version: 1
name: reloaded
sources:
  a: {uses: ./shop.py/numbers}
  b: {uses: ./shop.py/numbers}
steps:
  first: {uses: tagger/tagged, from: a}
  second: {uses: tagger/tagged, from: b, with: {by: 2}}
sinks:
  out-a: {uses: std/files, from: first, with: {path: out/a/, format: jsonl}}
  out-b: {uses: std/files, from: second, with: {path: out/b/, format: jsonl}}
checkpoint: {interval: 60ms}
guarantee: exactly_once
"""


def test_regions_take_a_version_all_or_none(project: Project) -> None:
    project.file.write_text(TWO)
    running = Running(project)
    running.until(2)
    project.add("1.1.0", bad("1.1.0", "if by == 2: raise RuntimeError('defect')"))
    told = running.reload()
    assert told["outcome"] == "rolled_back", told
    project.add("1.2.0", code("1.2.0"))
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    running.end()
    for part in ("a", "b"):
        rows = [json.loads(line) for file in (project.folder / "out" / part).rglob("*.jsonl") for line in file.open()]
        assert sorted(row["n"] for row in rows) == list(range(len(rows)))
        assert {row["version"] for row in rows} == {"1.0.0", "1.2.0"}


def test_state_that_is_migrated_is_taken_back_too(project: Project, running: Running) -> None:
    """What was migrated and changed on trial is as it was; the next version finds it so."""
    failing = code("2.0.0", state=2).replace(
        "made = []", "made = []\n        if ctx.fence: raise RuntimeError('defect')"
    )
    project.add("2.0.0", failing.replace("(self, batch: Batch)", "(self, batch: Batch, ctx)"))
    assert running.reload()["outcome"] == "rolled_back"
    running.until(1)
    project.add("2.1.0", code("2.1.0", state=2))
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    assert set(judge(running.end())) == {"1.0.0", "2.1.0"}


WORKER_FLOW = FLOW.replace("probation: 10s", "patience: 1s")


@pytest.mark.parametrize("how", ["time.sleep(3600)", "os.kill(os.getpid(), 9)"])
def test_a_worker_that_hangs_or_dies_is_taken_back(tmp_path: Path, how: str) -> None:
    made = Project(tmp_path, runtime="python")
    made.file.write_text(WORKER_FLOW)
    made.add("1.0.0", code("1.0.0"))
    running = Running(made)
    running.until(2)
    made.add("1.1.0", f"import os, time\n{bad('1.1.0', how)}")
    told = running.reload()
    assert told["outcome"] == "rolled_back", told
    running.until(1)
    made.add("1.2.0", code("1.2.0"))
    assert running.reload()["outcome"] == "kept"
    running.until(1)
    assert set(judge(running.end())) == {"1.0.0", "1.2.0"}
