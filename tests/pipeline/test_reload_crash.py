"""SIGKILL in the middle of a reload: what runs next goes on, and who prepared an epoch commits it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from pipeline.reloaded_ends import Ends, reload_and_die
from pipeline.reloads import Project, code, judge

from dataflare.testing.forked import Forked

FULL = os.environ.get("DATAFLARE_CRASHES", "fast") == "full"
ENDS = ["drain:1", "decided:1", "sink-commit:1", "opened:1", "prepared:2", "decided:2", "commit-point:3", "decided:3"]
LANES = ["snapshot:1", "commit-point:1", "decided:1", "commit-point:2", "decided:2", "settle:2"]
if FULL:
    EPOCH = ["barrier", "align", "snapshot", "prepare", "prepared", "commit-point", "decided", "sink-commit"]
    EPOCH += ["committed", "acknowledge", "settle", "processed", "read"]
    LANES = [f"{place}:{number}" for place in EPOCH for number in (1, 2, 3)]
    ENDS = [*LANES, "drain:1", "opened:1"]


def die(project: Project, version: str, place: str) -> None:
    """Run it, reload it to what was put into the set last, die there; then run it to its end."""
    made = project.folder / "plugins.toml"
    (project.folder / "next.toml").write_text(made.read_text())
    made.write_text((project.folder / "first.toml").read_text())
    words = ("run", str(project.file), "--json")
    ended = Forked(project.folder, *words, first=partial(reload_and_die, project.folder, version, place)).end()
    assert ended.killed or (project.folder / "told").exists(), ended
    (project.folder / "enough").touch()
    last = Forked(project.folder, *words).end()
    assert (last.code, last.json["status"]) == (0, "finished"), last


@pytest.mark.parametrize("place", ENDS)
def test_a_death_while_a_source_and_a_sink_change_over(tmp_path: Path, place: str) -> None:
    project = Ends(tmp_path)
    project.put("1.0.0")
    (tmp_path / "first.toml").write_text((tmp_path / "plugins.toml").read_text())
    project.put("2.0.0", state=2)
    die(project, "2.0.0", place)
    assert set(project.judge()) <= {"1.0.0", "2.0.0"}


@pytest.mark.parametrize("place", LANES)
def test_a_death_while_lanes_turn(tmp_path: Path, place: str) -> None:
    project = Project(tmp_path)
    project.add("1.0.0", code("1.0.0"))
    (tmp_path / "first.toml").write_text((tmp_path / "plugins.toml").read_text())
    project.add("2.0.0", code("2.0.0", state=2))
    die(project, "2.0.0", place)
    assert set(judge(project.rows())) <= {"1.0.0", "2.0.0"}
