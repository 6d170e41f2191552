"""What people do between two runs, and what goes wrong outside: each time the target holds the undisturbed rows."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from crash_flows import ROWS, content, flow, making

from dataflare.testing import Crashes
from dataflare.testing.crash_suite import Stage, finished
from dataflare.testing.forked import Ended, Forked

WIDE = os.environ.get("DATAFLARE_CRASHES", "fast") != "fast"


def holds(crashes: Crashes, stage: Stage) -> None:
    """The target is that of an undisturbed run."""
    assert [each for each in crashes.judge(["here"], stage) if not each.held] == []


def edit(stage: Stage, old: str, new: str) -> None:
    """Change the flow."""
    text = stage.flow.read_text()
    assert old in text
    stage.flow.write_text(text.replace(old, new))


def codes(ended: Ended) -> list[str]:
    """The problems that a run ended with."""
    return [problem["code"] for problem in (ended.json or {}).get("problems", [])]


@pytest.mark.parametrize("place", ["prepared:2", "decided:2", "committed:2"])
def test_a_restart_with_other_lanes_and_cores(place: str) -> None:
    crashes = Crashes(making(flow("numbered", "sqlite", ["one_file", "transactional"])), content)
    with crashes.stage() as stage:
        assert stage.run(place).killed
        edit(stage, "lanes: 2", "lanes: 3")
        stage.flow.write_text(stage.flow.read_text() + "mode: {uses: standalone/standalone, with: {cores: 1}}\n")
        assert stage.run("decided:1").killed
        edit(stage, "lanes: 3", "lanes: 1")
        finished(stage.run())
        holds(crashes, stage)


def test_an_edited_path_is_refused_while_rows_are_under_way() -> None:
    crashes = Crashes(making(flow("map", "file", ["one_file", "staged"])), content)
    for old, new in (("one.jsonl", "two.jsonl"), ("staged/", "other/")):
        with crashes.stage() as stage:
            assert stage.run("decided:2").killed
            edit(stage, old, new)
            refused = stage.run()
            assert refused.code == 1
            assert codes(refused), refused
            edit(stage, new, old)
            finished(stage.run())
            holds(crashes, stage)


def test_state_that_was_reset_does_not_write_a_full_target_again() -> None:
    crashes = Crashes(making(flow("map", "sqlite", ["one_file", "staged", "transactional"])), content)
    with crashes.stage() as stage:
        finished(stage.run())
        assert Forked(stage.folder, "state", "reset", str(stage.flow), "--yes", "--json").end().code == 0
        refused = stage.run()
        assert refused.code == 1
        assert codes(refused) == ["sink.not_empty"]
        holds(crashes, stage)
        for place in ("reset:1", "prepared:1", "decided:1"):
            killed = stage.run(place, "--from-start", "--replace")
            assert killed.killed or place == "reset:1"
        finished(stage.run("", "--from-start", "--replace"))
        holds(crashes, stage)


def replaced(source: str) -> Callable[[str], str]:
    return lambda text: text.replace("./shop.py/numbers", f"./shop.py/{source}")


@pytest.mark.parametrize("place", ["", "drain:1", "decided:3"])
def test_asked_to_stop_inside_a_window_it_goes_on_as_if_nothing_had_been(place: str) -> None:
    calm = Crashes(making(flow("windowed", "file", ["one_file", "transactional"])), content)
    stopping = replaced("stopping")(flow("windowed", "file", ["one_file", "transactional"]))
    with calm.stage() as stage:
        stage.flow.write_text(stopping)
        ended = stage.run(place)
        if place == "drain:1":
            assert ended.killed
        elif not place:
            assert (ended.code, ended.json["status"]) == (0, "stopped")
        finished(stage.run())
        holds(calm, stage)


def test_a_unique_key_that_only_the_target_knows() -> None:
    make = making(flow("map", "file", ["transactional"]))

    def guarded(folder: Path) -> Path:
        with sqlite3.connect(folder / "table.db") as db:
            db.execute("create table rows (n integer, k integer unique, at text)")
        db.close()
        return make(folder)

    crashes = Crashes(guarded, content)
    assert crashes.wanted["transactional"].total() == ROWS // 4
    for place in ("written:3", "prepared:2", "decided:2", "sink-move:2"):
        with crashes.stage() as stage:
            assert stage.run(place).killed
            finished(stage.run())
            holds(crashes, stage)
            assert letters(stage) == ROWS - ROWS // 4


def test_a_unique_key_that_two_epochs_break_between_them() -> None:
    """The later rows were staged before the earlier ones came into the table: the next run refuses them row by row."""

    def guarded(folder: Path) -> Path:
        with sqlite3.connect(folder / "table.db") as db:
            db.execute("create table rows (n integer, k integer, at text unique)")
        db.close()
        return making(flow("map", "file", ["transactional"]))(folder)

    with tempfile.TemporaryDirectory() as name:
        stage = Stage(Path(name), guarded(Path(name)))
        for _ in range(10):
            if (ended := stage.run()).code == 0:
                break
            assert codes(ended) == ["sql.constraint"]
        finished(ended)
        times = [row["at"] for row in content(stage.folder)["transactional"]]
        assert len(times) == len(set(times)) == ROWS // 2
        assert letters(stage) == ROWS // 2


def letters(stage: Stage) -> int:
    """How many rows wait as dead letters."""
    told = Forked(stage.folder, "dlq", "list", str(stage.flow), "--json").end().json
    return sum(int(group["waiting"]) for group in told)


FLAKY = "./shop.py/flaky, with: {path: staged/}"


def flaky(folder: Path) -> Path:
    text = flow("map", "file", ["staged"]).replace(
        "std/files, with: {path: staged/, format: jsonl}", "./shop.py/flaky, with: {path: staged/}"
    )
    return making(text)(folder)


def test_a_commit_that_fails_for_a_while_is_repeated_until_it_succeeds() -> None:
    crashes = Crashes(flaky, content)
    assert crashes.wanted["staged"].total() == ROWS
    for place in ("sink-commit:2", "committed:2", "decided:2"):
        assert [each for each in crashes.killed(place, "*:4") if not each.held] == []


@pytest.mark.parametrize("place", ["replay:1", "prepared:1", "decided:1", "sink-commit:1", "settle:1"])
def test_dead_letters_that_are_replayed_come_once(place: str) -> None:
    text = flow("map", "sqlite", ["one_file", "transactional"]).replace("from: made", "from: even")
    text = text.replace("sinks:", "steps: {even: {uses: ./shop.py/even, from: made}}\nsinks:")
    crashes = Crashes(making(text), content)
    with crashes.stage() as calm:
        (calm.folder / "mended").touch()
        finished(calm.run())
        crashes.wanted = crashes.held(calm)
    with crashes.stage() as stage:
        finished(stage.run())
        assert letters(stage) == ROWS // 2
        (stage.folder / "mended").touch()
        replay = ("dlq", "replay", str(stage.flow), "--json")
        killed = Forked(stage.folder, *replay, variables={"DATAFLARE_CRASH": place}).end()
        assert killed.killed, killed
        Forked(stage.folder, *replay, variables={"DATAFLARE_CRASH": "*:5"}).end()
        done = Forked(stage.folder, *replay).end()
        assert done.code == 0, json.dumps(done.json)
        assert letters(stage) == 0
        holds(crashes, stage)
