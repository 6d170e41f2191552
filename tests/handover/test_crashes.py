"""Killed or frozen at each place of a handover, in either process: one owner, and no row lost or doubled."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from handed import FLOW, Launched, Project, code
from pipeline.reloads import judge

FULL = os.environ.get("DATAFLARE_CRASHES") == "full"
TWO_SINKS = FLOW.replace(
    "checkpoint:", '  table: {uses: std/sql, from: running, with: {uri: "sqlite:///t.db", table: rows}}\ncheckpoint:'
)
FILES = FLOW.replace("probation: 4s", "probation: 4s, lease: {beat: 50ms, patience: 300ms}").replace(
    "checkpoint:", "state: {uses: state/file, with: {path: state}}\ncheckpoint:"
)
"""Nothing in SQLite: a process that is frozen inside one of its transactions would keep everybody out."""
BEFORE = ("taken", "opened", "read", "processed", "write", "barrier", "snapshot", "prepare", "prepared", "commit-point")
AFTER = ("store-committed", "decided", "sink-commit", "committed", "acknowledge", "settle")
if not FULL:
    BEFORE, AFTER = ("taken", "prepared"), ("decided", "committed")


def dying(version: str, place: str, how: str = "") -> str:
    """A version of the plugin in whose process the engine dies there."""
    frozen = "c._SIGNAL = 19\n" if how else ""
    return f"import dataflare.crash as c\nc._NAME, c._left = {place!r}, 1\n{frozen}{code(version)}"


def judged(project: Project) -> Counter[str]:
    """Both sinks hold the same rows, each once."""
    made = judge(project.rows())
    with closing(sqlite3.connect(project.folder / "t.db")) as db:
        numbers = [n for (n,) in db.execute("select n from rows order by n")]
    assert numbers == list(range(sum(made.values())))
    return made


def recovered(project: Project) -> Counter[str]:
    """A fresh run ends the input; what came out of it all."""
    again = Launched(project)
    try:
        again.until(1)
        ended = again.end()
        assert (ended["code"], ended["status"]) == (0, "finished"), ended
    finally:
        again.close()
    return judged(project)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, TWO_SINKS)


@pytest.mark.parametrize("place", BEFORE)
def test_the_new_process_dies_before_its_epoch_is_committed(project: Project, launched: Launched, place: str) -> None:
    project.add("1.1.0", dying("1.1.0", place))
    told = launched.reload()
    assert told["outcome"] == "rolled_back", told
    launched.until(1)
    ended = launched.end()
    assert (ended["code"], ended["status"]) == (0, "finished"), ended
    assert set(judged(project)) == {"1.0.0"}


@pytest.mark.parametrize("place", AFTER)
def test_the_new_process_dies_after_its_epoch_is_committed(project: Project, launched: Launched, place: str) -> None:
    """Then nothing goes back: the run has failed, and the next one goes on with the new version."""
    project.add("1.1.0", dying("1.1.0", place))
    told = None
    with suppress(Exception):  # the flow may end before it answers
        told = launched.reload()
    assert told is None or told["outcome"] == "kept", told
    ended = launched.ended()
    assert (ended["code"], ended["problems"][0]["code"]) == (1, "run.process_lost")
    project.add("1.2.0", code("1.2.0"))
    assert set(recovered(project)) == {"1.0.0", "1.1.0", "1.2.0"}


@pytest.mark.parametrize("place", ["prepared-beside", "rest", "given-away", "taken-back"])
def test_what_was_launched_dies(project: Project, place: str) -> None:
    launched = Launched(project, place)
    try:
        launched.until(1)
        project.add("1.1.0", code("1.1.0", call="raise RuntimeError('defect')" if place == "taken-back" else "pass"))
        children: list[psutil.Process] = []

        def watch() -> None:
            while launched.process.poll() is None:
                with suppress(psutil.Error):
                    children[:] = psutil.Process(launched.process.pid).children() or children
                time.sleep(0.01)

        watching = threading.Thread(target=watch)
        watching.start()
        with pytest.raises(Exception, match=r"did not answer|ended before"):
            launched.reload()
        assert launched.process.wait(30) == -signal.SIGKILL
        watching.join()
        assert children
        psutil.wait_procs(children, 10)
        assert not any(each.is_running() for each in children)
        project.add("1.2.0", code("1.2.0"))
        versions = set(recovered(project))
        assert versions <= {"1.0.0", "1.1.0", "1.2.0"}
        assert ("1.1.0" in versions) == (place == "given-away")
    finally:
        launched.close()


@pytest.mark.parametrize("place", ["taken", "prepared", "decided"])
def test_frozen_with_its_process_and_replaced_both_wake_up_to_nothing(tmp_path: Path, place: str) -> None:
    project = Project(tmp_path, FILES)
    launched = Launched(project)
    launched.until(2)
    project.add("1.1.0", dying("1.1.0", place, "stop"))

    def reload() -> None:
        with suppress(Exception):
            launched.reload()

    asking = threading.Thread(target=reload)
    asking.start()
    parent = psutil.Process(launched.process.pid)
    child = None
    while child is None or child.status() != psutil.STATUS_STOPPED:
        child = next(iter(parent.children()), None)
        time.sleep(0.01)
    parent.suspend()
    project.add("1.2.0", code("1.2.0"))
    successor = Launched(project)
    try:
        while not any(row["version"] == "1.2.0" for row in project.rows()):
            assert successor.process.poll() is None
            time.sleep(0.05)
        parent.resume()
        child.resume()
        ended = launched.ended()
        asking.join()
        (problem,) = ended["problems"]
        assert (ended["code"], ended["status"]) == (1, "failed"), ended
        assert problem["code"].endswith(".fenced") or problem["code"] == "run.process_lost", ended
        assert not child.is_running()
        successor.until(1)
        outcome: dict[str, Any] = successor.end()
        assert (outcome["code"], outcome["status"]) == (0, "finished"), outcome
    finally:
        successor.close()
        launched.close()
    assert set(judge(project.rows())) <= {"1.0.0", "1.1.0", "1.2.0"}
