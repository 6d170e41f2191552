"""Reloads at once, of what begins anew, of callers that leave, against a policy; why one cannot be done in place."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from pipeline.reloaded_ends import Ends
from pipeline.reloads import FLOW, Project, Running, bad, code, judge

from dataflare import DataflareError
from dataflare_host import control
from dataflare_host.control import send

WAITS = """
    def open(self):
        import pathlib, time
        while not pathlib.Path({go!r}).exists():
            time.sleep(0.01)
"""


def slow(project: Project, version: str) -> str:
    """A version that opens once the file `go` is there."""
    waiting = WAITS.format(go=str(project.folder / "go"))
    return code(version).replace("    def process(self", f"{waiting}\n    def process(self")


def refusal(running: Running) -> str:
    """The code that a reload is refused with."""
    with pytest.raises(DataflareError) as refused:
        running.reload()
    return refused.value.code


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.add("1.0.0", code("1.0.0"))
    return made


def test_one_at_a_time_and_whoever_leaves_blocks_nobody(project: Project) -> None:
    running = Running(project)
    running.until(1)
    project.add("1.1.0", slow(project, "1.1.0"))
    with control.connected(project.folder, "reloaded") as line:
        send(line._sock, {"op": "swap"}, {"plugin": "tagger", "version": None})
        until = time.monotonic() + 30
        while (told := refusal(running) if time.monotonic() < until else "") != "reload.busy":
            assert told == "reload.same"  # it has not begun yet
    (project.folder / "go").touch()
    project.add("1.2.0", code("1.2.0"))
    while running.project.folder.exists():
        with suppress(DataflareError):  # busy with the one whose caller has left
            assert running.reload()["outcome"] == "kept"
            break
    running.until(1)
    assert set(judge(running.end())) >= {"1.0.0", "1.2.0"}


def test_one_plugin_in_two_flows_changes_in_each_by_itself(project: Project) -> None:
    running = Running(project)
    other = project.folder / "other.yaml"
    other.write_text(FLOW.replace("name: reloaded", "name: other").replace("out/", "out-other/"))
    second = Running(project, other, "out-other")
    for each in (running, second):
        each.until(1)
    project.add("1.1.0", code("1.1.0"))
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda each: each.reload()["outcome"], (running, second)))
    assert told == ["kept", "kept"]
    project.add("1.2.0", code("1.2.0"))
    assert second.reload()["outcome"] == "kept"
    for each in (running, second):
        each.until(1)
    assert set(judge(running.end())) == {"1.0.0", "1.1.0"}
    assert set(judge(second.end())) == {"1.0.0", "1.1.0", "1.2.0"}


def test_a_region_that_begins_anew_takes_the_version_then(tmp_path: Path) -> None:
    project = Ends(tmp_path, "python")
    killed = "import os\n        if (HERE / 'kill').exists(): (HERE / 'kill').unlink(); os._exit(1)"
    project.put("1.0.0", write=killed)
    running = Running(project)
    running.until(1)
    project.put("2.0.0", state=2)
    (tmp_path / "kill").touch()
    while (tmp_path / "kill").exists():
        time.sleep(0.001)
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    running.end()
    assert set(project.judge()) == {"1.0.0", "2.0.0"}


HOOK = """
from pathlib import Path
from dataflare import Problem

def dataflare_check_plan(plan):
    if any(step.version == "1.1.0" for step in plan.steps.values()):
        yield Problem("acme.no", "not this version")
"""


def test_a_policy_that_refuses_the_plan_refuses_the_reload(project: Project) -> None:
    project.judged_by(HOOK)
    project.add("1.0.0", code("1.0.0"))
    running = Running(project)
    running.until(1)
    project.add("1.1.0", code("1.1.0"))
    assert refusal(running) == "acme.no"
    project.add("1.2.0", code("1.2.0"))
    assert running.reload()["outcome"] == "kept"
    running.until(1)
    assert set(judge(running.end())) == {"1.0.0", "1.2.0"}


def test_a_version_that_hangs_beside_the_running_one_is_refused_in_time(tmp_path: Path) -> None:
    project = Project(tmp_path, runtime="python")
    project.file.write_text(FLOW.replace("probation: 10s", "patience: 0.5s"))
    project.add("1.0.0", code("1.0.0"))
    running = Running(project)
    running.until(2)
    project.add(
        "1.1.0", "import time\n" + code("1.1.0").replace("made = []", "made = time.sleep(3600 * bool(keys)) or []")
    )
    assert refusal(running) == "reload.stuck"
    project.add("2.0.0", "import time\n" + code("2.0.0", state=2).replace("return {", "return time.sleep(3600) or {"))
    assert refusal(running) == "reload.stuck"
    running.until(1)
    assert set(judge(running.end())) == {"1.0.0"}


def test_an_epoch_that_does_not_come_in_time_takes_the_version_back(project: Project) -> None:
    project.file.write_text(FLOW.replace("probation: 10s", "probation: 2s, patience: 20s"))
    running = Running(project)
    running.until(1)
    project.add("1.1.0", "import time\n" + bad("1.1.0", "time.sleep(3)"))
    told = running.reload()
    assert (told["outcome"], told["problem"]["code"]) == ("rolled_back", "reload.timeout")
    running.until(1)
    assert set(judge(running.end())) == {"1.0.0"}


def test_why_one_cannot_be_done_in_place_is_said(project: Project) -> None:
    project.file.write_text(FLOW.replace(", with: {key: k}", ""))
    running = Running(project)
    running.until(1)
    assert refusal(running) == "reload.same"
    project.add("1.1.0", code("1.1.0").replace('"version"', '"n"'))
    assert refusal(running) == "reload.schema"
    project.add("1.1.0", code("1.1.0").replace('("k",)', '("n",)'))
    assert refusal(running) == "reload.plan"
    project.add("1.2.0", code("1.2.0"))
    with pytest.raises(DataflareError, match=r"reload\.version"):
        running.reload("1.3.0")
    with pytest.raises(DataflareError, match=r"reload\.not_used"):
        running.other.command(str(project.file), "swap", {"plugin": "nobody"})
    project.add("1.3.0", bad("1.3.0", "refuses"))
    assert running.reload()["problem"]["code"] == "reload.rejects"
    project.add("1.4.0", code("1.4.0").replace("by: int = 1", "by: int = 2, more: str = 'new'"))
    assert running.reload()["outcome"] == "kept"
    running.until(1)
    assert set(judge(running.end())) == {"1.0.0", "1.4.0"}


def test_another_guarantee_is_not_slipped_in(tmp_path: Path) -> None:
    project = Ends(tmp_path)
    project.file.write_text(project.file.read_text().replace("guarantee: exactly_once\n", ""))
    project.put("1.0.0")
    running = Running(project)
    running.until(1)
    project.add("1.1.0", project.text("1.1.0").replace('fencing="names"', 'fencing="none"'))
    assert refusal(running) == "reload.guarantee"
    running.end()
    assert set(project.judge()) == {"1.0.0"}
