"""What was launched stays what it was: its commands, signals, exit code, and no more processes than one beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest
from handed import Launched, Project, code
from pipeline.reloads import judge


@pytest.fixture
def moved(project: Project, launched: Launched) -> Launched:
    """A flow that goes on in another process."""
    project.add("1.1.0", code("1.1.0"))
    assert launched.reload()["outcome"] == "kept"
    return launched


def run_again(project: Project) -> dict[str, Any]:
    """A fresh run, to the end of the input."""
    again = Launched(project)
    try:
        again.until(1)
        return again.end()
    finally:
        again.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_at_a_barrier(project: Project, moved: Launched, number: int) -> None:
    moved.until(1)
    moved.process.send_signal(number)
    ended = moved.ended()
    assert (ended["code"], ended["status"]) == (0, "stopped"), ended
    made = judge(project.rows())
    assert set(made) == {"1.0.0", "1.1.0"}
    assert ended["rows"]["written"] == sum(made.values())
    assert run_again(project)["status"] == "finished"
    judge(project.rows())


def test_ctrl_c_reaches_all_processes_of_a_terminal(project: Project, moved: Launched) -> None:
    for pid in (moved.process.pid, *moved.children()):
        os.kill(pid, signal.SIGINT)
    ended = moved.ended()
    assert (ended["code"], ended["status"]) == (0, "stopped"), ended
    judge(project.rows())


def test_stop_and_status_go_through_what_was_launched(project: Project, moved: Launched) -> None:
    moved.until(1)
    status = moved.ask("status")
    assert status["status"] == "running"
    assert status["rows"]["read"] >= len(project.rows())
    with moved.host.runner(project.file) as line:
        assert line.hello["pid"] == moved.process.pid
        line.ask("stop", {})
        assert line.wait(60)["status"] == "stopped"
    assert moved.ended()["code"] == 0
    judge(project.rows())


def test_a_run_told_to_leave_at_once_does(project: Project, moved: Launched) -> None:
    moved.until(1)
    children = moved.children()
    moved.ask("abort")
    ended = moved.ended()
    assert (ended["code"], ended["status"]) == (1, "failed")
    assert [problem["code"] for problem in ended["problems"]] == ["run.aborted"]
    assert not any(map(psutil.pid_exists, children))
    assert run_again(project)["status"] == "finished"
    judge(project.rows())


def test_each_reload_takes_the_place_of_the_process_before(project: Project, moved: Launched) -> None:
    """Versions that are kept, taken back and refused: there is one process beside what was launched."""
    before = moved.children()
    for number, call in enumerate(["pass", "raise RuntimeError('defect')", "os._exit(1)", "pass"], 2):
        project.add(f"1.{number}.0", code(f"1.{number}.0", call=call))
        told = moved.reload()
        assert told["outcome"] == ("kept" if call == "pass" else "rolled_back"), told
        until = time.monotonic() + 10
        while len(moved.children()) > 1 and time.monotonic() < until:
            time.sleep(0.01)
        (child,) = moved.children()
        assert (child in before) == (call != "pass")
        before = [child]
        moved.until(1)
    project.add("1.9.0", "def broken(:\n")
    with pytest.raises(Exception, match="invalid syntax"):
        moved.reload()
    assert moved.children() == before
    assert moved.end()["code"] == 0
    assert set(judge(project.rows())) == {"1.0.0", "1.1.0", "1.2.0", "1.5.0"}


def test_killed_it_takes_its_process_along_and_a_fresh_run_recovers(project: Project, moved: Launched) -> None:
    moved.until(1)
    (child,) = map(psutil.Process, moved.children())
    moved.process.kill()
    child.wait(10)
    assert run_again(project)["status"] == "finished"
    assert set(judge(project.rows())) == {"1.0.0", "1.1.0"}


def test_killed_while_its_process_hangs_it_takes_it_along(project: Project, launched: Launched) -> None:
    """Frozen, the process cannot notice; the kernel ends it."""
    project.add("1.1.0", code("1.1.0"))
    assert launched.reload()["outcome"] == "kept"
    (child,) = map(psutil.Process, launched.children())
    child.suspend()
    launched.process.kill()
    child.wait(10)
    assert run_again(project)["status"] == "finished"
    judge(project.rows())


def test_where_the_process_dies_the_run_fails_and_a_fresh_one_recovers(project: Project, moved: Launched) -> None:
    moved.until(1)
    (child,) = moved.children()
    os.kill(child, signal.SIGKILL)
    ended = moved.ended()
    assert (ended["code"], [problem["code"] for problem in ended["problems"]]) == (1, ["run.process_lost"])
    assert "signal 9" in ended["problems"][0]["cause"]
    assert run_again(project)["status"] == "finished"
    assert set(judge(project.rows())) == {"1.0.0", "1.1.0"}


def test_of_two_reloads_at_once_one_is_busy(project: Project, launched: Launched) -> None:
    project.add("1.1.0", code("1.1.0"))
    answers: list[str] = []

    def reload() -> None:
        try:
            answers.append(launched.reload()["outcome"])
        except Exception as error:
            answers.append(getattr(error, "code", repr(error)))

    asking = [threading.Thread(target=reload) for _ in range(3)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert sorted(answers) == ["kept", "reload.busy", "reload.busy"]
    launched.until(1)
    assert launched.end()["code"] == 0
    assert set(judge(project.rows())) == {"1.0.0", "1.1.0"}


def test_a_stop_while_a_version_is_on_trial_stops_whichever_goes_on(project: Project, launched: Launched) -> None:
    project.add("1.1.0", code("1.1.0", call="time.sleep(3600)"))
    told: list[Any] = []

    def reload() -> None:
        with suppress(Exception):  # the flow may end before it answers
            told.append(launched.reload())

    asking = threading.Thread(target=reload)
    asking.start()
    while not launched.children() or launched.ask("status")["status"] != "running":
        time.sleep(0.05)
    launched.process.send_signal(signal.SIGTERM)
    ended = launched.ended()
    asking.join()
    assert (ended["code"], ended["status"]) == (0, "stopped"), ended
    assert told in ([], [{**told[0], "outcome": "rolled_back"}] if told else [])
    assert set(judge(project.rows())) == {"1.0.0"}


def test_the_command_line_tells_the_outcome(project: Project, launched: Launched) -> None:
    def reload(*more: str) -> tuple[int, dict[str, Any]]:
        words = [sys.executable, "-m", "dataflare_host", "plugin", "reload", "flow.yaml", *more, "--json"]
        done = subprocess.run(words, cwd=project.folder, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    exit_code, told = reload("tagger")
    assert (exit_code, told["outcome"], told["problem"]["code"]) == (1, "refused", "reload.same")
    project.add("1.1.0", code("1.1.0"))
    exit_code, told = reload("tagger@3.0.0")
    assert (told["outcome"], told["problem"]["code"]) == ("refused", "reload.version")
    exit_code, told = reload("tagger@1.1.0")
    assert (exit_code, told["outcome"], told["replayed"], told["reason"]) == (0, "kept", 0, None)
    assert 0 < told["pause_ms"] < 60_000
    launched.end()
    judge(project.rows())


def test_a_flow_that_is_reloaded_whole_runs_the_code_that_its_set_has(project: Project, moved: Launched) -> None:
    """The process that was launched has the first version's code; it does not come back."""
    moved.until(1)
    project.add("1.2.0", code("1.2.0"))
    assert moved.ask("reload")["reloaded"]
    moved.until(2)
    assert len(moved.children()) == 1
    project.add("1.3.0", code("1.3.0"))
    told = moved.reload()
    assert told["outcome"] == "kept", told
    moved.until(1)
    ended = moved.end()
    assert (ended["code"], ended["status"]) == (0, "finished"), ended
    made = judge(project.rows())
    assert set(made) == {"1.0.0", "1.1.0", "1.2.0", "1.3.0"}
    assert ended["rows"]["read"] == ended["rows"]["written"] == sum(made.values())
