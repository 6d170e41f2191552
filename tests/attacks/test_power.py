"""A deployment that is killed at any moment leaves flows that run, and is done by doing it again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packages.projects import wants

from dataflare_host.app import Host
from dataflare_index.checking import root_of
from dataflare_index.trusted import trust

from .conftest import Publish, Run

FLOW = """
version: 1
name: few
sources:
  rows: {{uses: std/generate, with: {{rows: 5}}}}
steps:
  counted: {{uses: std/compute, from: rows, with: {{columns: {{n: id}}}}}}
  few: {{uses: {plugin}/few, from: counted}}
sinks:
  out: {{uses: std/files, from: few, with: {{path: out.jsonl}}}}
"""
KILLED = """
import os, signal, sys
count, project, bundle = int(sys.argv[1]), sys.argv[2], sys.argv[3]
true = os.replace
def dying(source, target, **more):
    global count
    if str(target).startswith(project):
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return true(source, target, **more)
os.replace = dying
from dataflare_host.cli import main
sys.exit(main(["plugin", "deploy", bundle, "--project", project, "--json"]))
"""


@pytest.fixture
def bundles(project: Path, index: Path, publish: Publish, run: Run, tmp_path: Path) -> tuple[Path, Path]:
    """Two of one project: the second has a newer plugin, one more, and one less."""
    for name, version in (("left", "1.0.0"), ("left", "1.1.0"), ("right", "1.0.0"), ("north", "1.0.0")):
        publish(name, version)
    trust(project, str(index), root_of(index))
    made = []
    wishes = ('left: version = "<1.1"', 'right: version = ""'), ('left: version = ""', 'north: version = ""')
    for number, (lines, plugin) in enumerate(zip(wishes, ("right", "north"), strict=True)):
        wants(project, *lines)
        (project / "flow.yaml").write_text(FLOW.format(plugin=plugin))
        assert run("plugin", "lock", "--project", project)[0] == 0
        made.append(tmp_path / f"{number}.zip")
        assert run("plugin", "export", made[-1], "--project", project)[0] == 0
    shutil.rmtree(index)
    return made[0], made[1]


def test_a_deployment_that_is_killed_leaves_flows_that_run(
    bundles: tuple[Path, Path], run: Run, tmp_path: Path
) -> None:
    place, first = tmp_path / "there", tmp_path / "first"
    assert run("plugin", "deploy", bundles[0], "--project", first)[0] == 0
    seen = set()
    for count in range(1, 40, 2):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(first, place)
        words = [sys.executable, "-c", KILLED, str(count), str(place), str(bundles[1])]
        code = subprocess.run(words, env=dict(os.environ), capture_output=True, check=False).returncode
        plugin = "right" if "right/few" in (place / "flow.yaml").read_text() else "north"
        with Host.start() as host:
            host.enter(place)
            assert host.table().find("processor", "left/few").version in ("1.0.0", "1.1.0")
            assert host.plan(place / "flow.yaml").steps["few"].uses == f"{plugin}/few"
        told = json.loads((place / ".dataflare/installed.json").read_bytes())
        seen.add((plugin, *sorted(told["plugins"])))
        if code == 0:
            break
        assert code == -9
        if count % 8 == 1:
            assert run("plugin", "deploy", bundles[1], "--project", place)[0] == 0
            assert run("plugin", "sync", "--locked", "--offline", "--project", place)[0] == 0
            assert not list(place.glob(".dataflare/plugins/right"))
    assert code == 0
    assert seen == {
        ("right", "left", "right"),
        ("right", "left", "north", "right"),
        ("north", "left", "north", "right"),
        ("north", "left", "north"),
    }
