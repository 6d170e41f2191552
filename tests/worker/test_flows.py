"""Flows with Python plugins in processes of their own: what dies is replaced, and no row is lost or doubled."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worker.projects import add_plugin, write_wheel

from dataflare.context import Context
from dataflare.drive import driver_for
from dataflare_flow import Flow
from dataflare_host import Host
from dataflare_host.kinds import Outcome

CODE = (Path(__file__).parent / "mortal.py").read_text("utf-8")
ROWS = [n for n in range(200) if n % 10 != 7]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Host]]:
    """A host in a project with the plugin `mortal`; its environments are those of the whole session."""
    folder = tmp_path_factory.mktemp("project")
    add_plugin(folder, "mortal", CODE, more='[limits]\nwall_per_batch = "4s"\n')
    with Host.start() as host:
        host.enter(folder)
        yield folder, host


def run(project: tuple[Path, Host], tmp_path: Path, step: str, dies: dict[str, str]) -> tuple[Outcome, list[Any]]:
    """The outcome of a flow of nothing but this plugin, and what is on the shelf."""
    _, host = project
    marks = tmp_path / "marks"
    marks.mkdir()
    flow = Flow("mortal", base=tmp_path)
    flow.checkpoint = {"interval": 0.05}

    def told(kind: str) -> dict[str, str]:
        return {"folder": str(marks), "dies": dies.get(kind, "")}

    behind = flow.source("numbers", "mortal/numbers", **told("source"))
    config = {"key": ["k"]} if step == "sums" else {}
    behind = behind.step("step", f"mortal/{step}", **config, **told("processor"))
    behind.sink("shelf", "mortal/shelf", shelf=str(tmp_path / "shelf"), **told("sink"))
    outcome = flow.run(host=host)
    files = sorted((tmp_path / "shelf").glob("*.json"))
    return outcome, [row for file in files for row in json.loads(file.read_text())]


def judge(step: str, outcome: Outcome, rows: list[Any]) -> None:
    assert outcome.status == "finished", outcome.problems
    if step == "numbered":
        assert sorted(row["n"] for row in rows) == list(range(200))
        assert sorted(row["row"] for row in rows) == list(range(200))
        return
    assert sorted(row["n"] for row in rows) == ROWS
    for key in range(3):
        numbers = sorted((row["n"], row["total"]) for row in rows if row["k"] == key)
        assert [total for _, total in numbers] == list(itertools.accumulate(n for n, _ in numbers))
    assert outcome.rejected == 20


MOMENTS = [
    *(("source", f"{when}:{n}:kill") for when in ("open", "read", "read-on") for n in (2, 6)),
    *(("processor", f"{when}:{n}:kill") for when in ("process", "processed") for n in (1, 5)),
    *(("processor", f"process:2:{how}") for how in ("exit", "hang", "half")),
    *(("sink", f"{when}:{n}:kill") for when in ("write", "written", "prepare", "prepared") for n in (1, 2)),
    *(("sink", f"{when}:1:kill") for when in ("commit", "committed")),
]


@pytest.mark.parametrize(("kind", "dies"), MOMENTS)
def test_a_worker_that_dies_at_any_moment_costs_and_doubles_no_row(
    kind: str, dies: str, project: tuple[Path, Host], tmp_path: Path
) -> None:
    outcome, rows = run(project, tmp_path, "sums", {kind: dies})
    assert list((tmp_path / "marks").iterdir()), "nothing has died"
    judge("sums", outcome, rows)


@pytest.mark.parametrize("dies", ["process:3:kill", "processed:3:kill", "snapshot:1:kill", "snapshot:2:kill"])
def test_an_instance_that_is_lost_with_its_snapshot_repeats_the_epoch(
    dies: str, project: tuple[Path, Host], tmp_path: Path
) -> None:
    outcome, rows = run(project, tmp_path, "numbered", {"processor": dies})
    assert list((tmp_path / "marks").iterdir()), "nothing has died"
    judge("numbered", outcome, rows)


def test_workers_that_die_all_over_the_place(project: tuple[Path, Host], tmp_path: Path) -> None:
    dies = {
        "source": "read:3:kill read-on:7:exit",
        "processor": "process:4:half processed:9:kill",
        "sink": "written:2:kill commit:1:kill",
    }
    judge("sums", *run(project, tmp_path, "sums", dies))


def test_a_batch_that_kills_every_worker_fails_its_step_and_names_it(
    project: tuple[Path, Host], tmp_path: Path
) -> None:
    dies = {"processor": " ".join(f"process:{n}:exit" for n in range(1, 12))}
    outcome, _ = run(project, tmp_path, "sums", dies)
    assert outcome.status == "failed"
    text = "\n".join(problem.render() for problem in outcome.problems)
    assert "`mortal` was lost in `process`" in text
    assert "exit status 5" in text


def test_rights_and_limits_of_the_set_reach_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", "1")
    monkeypatch.setenv("NOT_GIVEN", "1")
    code = """
    import os, resource
    from dataflare import tool

    @tool
    def surroundings():
        return {"variables": sorted(os.environ), "data": resource.getrlimit(resource.RLIMIT_DATA)[0]}
    """
    asked = '[permissions]\nenv = [{ name = "GIVEN", reason = "test" }, { name = "NOT_GIVEN", reason = "test" }]\n'
    add_plugin(tmp_path, "seeing", code, more=asked + '[limits]\nmemory = "1GiB"\n')
    with open(tmp_path / "plugins.toml", "a") as file:
        file.write('grants = { env = [{ name = "GIVEN" }] }\nlimits = { memory = "200MiB" }\n')
    with Host.start() as host:
        host.enter(tmp_path)
        driver = driver_for(host.component("seeing/surroundings", {}, "tool"), Context())
        ((_, told),) = driver.call({})  # type: ignore[attr-defined]
    assert "GIVEN" in told["variables"]
    assert "NOT_GIVEN" not in told["variables"]
    assert 200 << 20 < told["data"] < 600 << 20


def test_two_plugins_with_contradictory_dependencies_work_in_one_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "2.0"):
        write_wheel(tmp_path / "index", "greeting_for_tests", version, {"greeting.py": f"version = {version!r}\n"})
    for word in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(word, str(tmp_path / "index"))
    for word in ("PIP_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.setenv(word, "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    code = """
    import greeting
    from dataflare import Batch, processor

    @processor
    def greet(batch: Batch, *, column: str) -> Batch:
        return batch.with_column(column, [greeting.version] * len(batch))
    """
    add_plugin(tmp_path, "older", code, requires=["greeting-for-tests<2"])
    add_plugin(tmp_path, "newer", code, requires=["greeting-for-tests>=2"])
    with Host.start() as host:
        host.enter(tmp_path)
        flow = Flow("greetings", base=tmp_path)
        made = flow.source("made", "std/generate", columns={"n": "int(0, 9)"}, rows=3)
        both = made.step("one", "older/greet", column="one").step("two", "newer/greet", column="two")
        both.sink("out", "std/files", path="out.jsonl")
        outcome = flow.run(host=host)
        assert outcome.status == "finished", outcome.problems
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["one"], row["two"]) for row in rows] == [("1.0", "2.0")] * 3
