"""What does not fit this machine, this interpreter or the lock is told; a sync that is killed leaves the old set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from wheel_files import sealed

from dataflare_host.app import Host
from dataflare_host.cli import main
from dataflare_index.catalogue import Listed
from dataflare_index.publishing import add
from dataflare_index.trusted import Trusted

from .conftest import Answer
from .projects import Files, wants, wheel

Publish = Callable[..., Path]
KILLED = """
import os, signal, sys
count, moment, project = int(sys.argv[1]), sys.argv[2], sys.argv[3]
true = getattr(os, moment)
def dying(*words, **more):
    global count
    count -= 1
    if count < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return true(*words, **more)
setattr(os, moment, dying)
from dataflare_host.cli import main
sys.exit(main(["plugin", "sync", "--locked", "--project", project, "--json"]))
"""


def needs_python(wanted: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        name = next(each for each in files if each.endswith("METADATA"))
        files.update(sealed({**files, name: files[name] + f"Requires-Python: {wanted}\n".encode()}))

    return change


def test_a_release_for_another_python_is_not_chosen(publish: Publish, project: Path, answer: Answer) -> None:
    publish("left", "1.0.0")
    publish("left", "1.1.0", change=needs_python(">=9"))
    wants(project, 'left: version = ""')
    assert answer("lock")[1]["plugins"] == {"left": "1.0.0"}
    wants(project, 'left: version = ">=1.1"')
    code, told = answer("lock")
    assert (code, told["errors"][0]["code"]) == (3, "lock.no_solution")
    assert "Python" in told["errors"][0]["cause"]


def test_a_release_for_another_machine_is_not_chosen(
    publish: Publish, project: Path, index: Path, answer: Answer, tmp_path: Path
) -> None:
    publish("left", "1.0.0")
    made = wheel(tmp_path / "other", "left", "1.1.0", change=_of_another_machine)
    add(index, [made.rename(made.with_name("dataflare_left-1.1.0-py3-none-win_arm64.whl"))])
    wants(project, 'left: version = ""')
    assert answer("lock")[1]["plugins"] == {"left": "1.0.0"}
    wants(project, 'left: version = ">=1.1"')
    code, told = answer("lock")
    assert (code, "win_arm64" in json.dumps(told)) == (3, True)


def _of_another_machine(files: Files) -> None:
    name = next(each for each in files if each.endswith("/WHEEL"))
    told = files[name].replace(b"py3-none-any", b"py3-none-win_arm64").replace(b"Purelib: true", b"Purelib: false")
    files.update(sealed({**files, name: told}))


def test_a_locked_run_wants_the_interpreter_that_was_locked(
    publish: Publish, project: Path, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("left")
    wants(project, 'left: version = ""', 'std: version = ""')
    assert answer("lock")[0] == 0
    file = project / "dataflare.lock"
    file.write_text(file.read_text().replace('std = "1.0.0"', 'std = "0.9.0"'))
    assert answer("sync", "--locked")[0] == 0
    (project / "flow.yaml").write_text("version: 1\nname: few\n")
    code = main(["run", str(project / "flow.yaml"), "--locked", "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, told["problems"][0]["code"]) == (2, "lock.host_differs")


@pytest.mark.parametrize("told", [{}, {"dependencies": 7}, {"dependencies": {}, "api": "", "host": "", "features": 1}])
def test_a_release_that_is_told_in_a_wrong_way_is_refused(
    publish: Publish, project: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch, told: Mapping[str, Any]
) -> None:
    publish("left")
    wants(project, 'left: version = ""')
    true = Trusted.plugin

    def broken(self: Trusted, name: str) -> Listed:
        found = true(self, name)
        return replace(found, releases={"1.0.0": dict(told)})

    monkeypatch.setattr(Trusted, "plugin", broken)
    code, answered = answer("lock")
    assert (code, answered["errors"][0]["code"]) == (2, "lock.release")
    assert not (project / "dataflare.lock").exists()


def test_one_plugin_is_accepted_and_the_other_still_waits(publish: Publish, project: Path, answer: Answer) -> None:
    asks = 'http = [{ host = "api.example", reason = "to ask" }]'
    publish("left", asks=asks)
    publish("right", asks=asks)
    wants(project, 'left: version = ""', 'right: version = ""')
    code, told = answer("lock", "--accept", "left")
    assert (code, [each["plugin"] for each in told["waits"]]) == (5, ["right"])
    assert not (project / "dataflare.lock").exists()
    assert answer("lock", "--accept", "left", "--accept", "right")[0] == 0


@pytest.mark.parametrize(("moment", "count"), [("replace", 0), ("replace", 1), ("replace", 2), ("fsync", 3)])
def test_a_sync_that_is_killed_leaves_the_old_set(
    publish: Publish, project: Path, answer: Answer, moment: str, count: int
) -> None:
    for version in ("1.0.0", "1.1.0"):
        publish("left", version)
        publish("right", version)
        if version == "1.0.0":
            wants(project, 'left: version = ""', 'right: version = ""')
            assert answer("sync")[0] == 0
    assert answer("upgrade")[0] == 0
    words = [sys.executable, "-c", KILLED, str(count), moment, str(project)]
    assert subprocess.run(words, env=dict(os.environ), capture_output=True, check=False).returncode == -9
    with Host.start() as host:
        host.enter(project)
        plugins = host.table().plugins
        assert {plugins["left"].version, plugins["right"].version} == {"1.0.0"}
        assert host.table().find("processor", "left/few").version == "1.0.0"
    assert answer("sync", "--locked")[0] == 0
    told = json.loads((project / ".dataflare/installed.json").read_text())["plugins"]
    assert {each["version"] for each in told.values()} == {"1.1.0"}
    assert not list(project.glob(".dataflare/plugins/*/.adding-*"))
