"""Anyone may register `dataflare-something`: nothing that is installed and named by nobody runs in the host itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflare_host.app import Host

MARKS = """
import os, sys
with open({marks!r}, "a") as file:
    print(os.getpid(), __name__, file=file)
"""
MANIFEST = """
schema = 1
[plugin]
id = "stranger"
version = "1.0.0"
summary = "Wants to be everything."
license = "MIT"
[api]
requires = ">=1.0,<2"
[runtime]
kind = "python"
entry = "stranger_plugin"
[kinds]
gadget = "stranger_plugin:Gadget"
source = "stranger_plugin:Gadget"
[hooks]
module = "stranger_plugin.hooks"
names = ["host_started", "host_stopping", "components", "event", "doctor", "health", "check_plan", "authorize", "audit"]
[defaults]
planner = { uses = "stranger/planner", with = {} }
secrets = { uses = "stranger/secrets", with = {} }
[components.processor]
same = "stranger_plugin:same"
[components.command]
run = "stranger_plugin:Run"
"stranger.greet" = "stranger_plugin:Run"
[components.loader]
worker = "stranger_plugin:Run"
wasm = "stranger_plugin:Run"
[components.store]
sqlite = "stranger_plugin:Run"
[components.planner]
planner = "stranger_plugin:Run"
[components.secrets]
secrets = "stranger_plugin:Run"
[components.service]
serve = "stranger_plugin:Run"
[components.gadget]
thing = "stranger_plugin:Run"
[summaries.command]
run = "Run something else."
[[permissions.http]]
host = "api.example"
reason = "to tell everybody"
[[permissions.env]]
name = "SECRET_OF_TESTS"
reason = "to know"
"""
CODE = """
import os
import dataflare as df

@df.processor(each="row", adds={"told": str})
def same(row: dict) -> dict:
    return {**row, "told": os.environ.get("SECRET_OF_TESTS", "nothing")}
"""
FLOW = """
version: 1
name: strange
sources:
  rows: {uses: std/generate, with: {rows: 3}}
steps:
  same: {uses: stranger/same, from: rows}
sinks:
  out: {uses: std/files, from: same, with: {path: out.jsonl}}
"""


class Site:
    """A folder on the path with the stranger in it, as pip leaves what it took from an index."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.marks = folder, folder.parent / "marks"
        package, info = folder / "stranger_plugin", folder / "dataflare_stranger-1.0.0.dist-info"
        for made in (package, info):
            made.mkdir(parents=True)
        mark = MARKS.format(marks=str(self.marks))
        for name, code in {"__init__": CODE, "hooks": ""}.items():
            (package / f"{name}.py").write_text(mark + code)
        (package / "dataflare.toml").write_text(MANIFEST)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dataflare-stranger\nVersion: 1.0.0\n")
        (info / "entry_points.txt").write_text("[dataflare.plugins]\nstranger = stranger_plugin\n")
        (info / "INSTALLER").write_text("pip\n")
        (info / "direct_url.json").write_text('{"url": "file:///", "dir_info": {}}')  # a wheel may bring any file
        files = [path for made in (package, info) for path in made.iterdir()]
        lines = [f"{path.relative_to(folder)},," for path in files]
        (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,", ""]))

    def run(self, cwd: Path, *words: str, **more: str) -> tuple[int, str, str, list[str]]:
        """A command line: its exit code, what it wrote, and what of the stranger ran in its own process."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "DATAFLARE_CACHE": str(self.folder.parent / "cache"),
            "SECRET_OF_TESTS": "known",
            **more,
        }
        self.marks.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "dataflare_host", *words],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, err = process.communicate(timeout=120)
        ran = self.marks.read_text().splitlines() if self.marks.exists() else []
        return process.returncode, out, err, [line for line in ran if line.startswith(f"{process.pid} ")]

    def ran_elsewhere(self) -> bool:
        return self.marks.exists() and "stranger_plugin" in self.marks.read_text()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture(params=["no set", "a set"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    (place / "flow.yaml").write_text(FLOW)
    if request.param == "a set":
        (place / "plugins.toml").write_text("[plugins]\n")
    return place


LINES: list[tuple[str, ...]] = [
    ("--help",),
    ("--version",),
    ("plugin", "--help"),
    ("plugin", "list"),
    ("plugin", "info", "stranger"),
    ("plugin", "audit"),
    ("plugin", "outdated"),
    ("plugin", "tree"),
    ("plugin", "why", "stranger"),
    ("plugin", "search", "stranger"),
    ("doctor",),
    ("validate", "flow.yaml"),
    ("plan", "flow.yaml"),
    ("explain", "flow.yaml"),
    ("run", "--plan-only", "flow.yaml"),
    ("run", "--help"),
    ("status",),
    ("state", "list", "flow.yaml"),
    ("stranger", "greet"),
    ("no-such-command",),
]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_no_command_imports_it(site: Site, project: Path, words: tuple[str, ...]) -> None:
    code, out, err, ran = site.run(project, *words)
    assert ran == []
    assert "Traceback" not in err
    if words in (("--help",), ("plugin", "--help")):
        assert "Run something else" not in out
        assert "stranger" not in out
    if words == ("stranger", "greet"):
        assert code == 2
        assert "there is no command `stranger`" in err


def test_completion_does_not_import_it(site: Site, project: Path) -> None:
    more = {"_DATAFLARE_COMPLETE": "bash_complete", "COMP_WORDS": "dataflare st", "COMP_CWORD": "1"}
    _, out, _, ran = site.run(project, **more)
    assert (ran, "stranger" in out, "state" in out) == ([], False, True)


def test_its_step_works_in_a_process_of_its_own_without_rights(site: Site, project: Path) -> None:
    code, _, err, ran = site.run(project, "run", "flow.yaml")
    assert (code, ran) == (0, []), err
    assert site.ran_elsewhere()
    rows = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert [row["told"] for row in rows] == ["nothing"] * 3
    assert "neither a set nor a lock names it" in err


def test_once_it_is_named_it_has_its_rights_and_a_place_where_the_set_says_so(site: Site, project: Path) -> None:
    code, out, _, ran = site.run(project, "plugin", "add", "stranger", "--json")
    waits = json.loads(out.splitlines()[-1])["errors"][0]["details"]["waits"]
    assert (code, ran, [each["permission"] for each in waits[0]["asks"]]) == (5, [], ["http", "env"])
    told = site.run(project, "plugin", "add", "stranger", "--grant", "--json")
    assert told[0] == 0, told[2]
    code, out, _, ran = site.run(project, "plugin", "list", "--json")
    assert (code, json.loads(out.splitlines()[-1])["unverified"], ran) == (0, [], [])
    code, _, err, ran = site.run(project, "run", "flow.yaml")
    assert (code, ran) == (0, []), err
    assert '"known"' in (project / "out.jsonl").read_text()
    file = project / "plugins.toml"
    file.write_text(file.read_text().replace('version = ""', 'version = ""\nisolation = "inline"'))
    *_, ran = site.run(project, "plugin", "list")
    assert any("hooks" in line for line in ran)


def test_a_host_in_a_program_keeps_it_out_too(
    site: Site, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(site.folder))
    with Host.start() as host:
        for step in (lambda: None, lambda: host.enter(project)):
            step()
            asks: list[Any] = [host.doctor(), host.health(), host.table().problems(), host.table().kinds()]
            assert asks
            kinds = {entry.kind for entry in host.table().entries() if entry.plugin == "stranger"}
            assert kinds == {"processor"}
            assert host.defaults()["planner"]["uses"] != "stranger/planner"
    assert "stranger_plugin" not in sys.modules
