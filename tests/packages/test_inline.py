"""What inline plugins need of others: one environment a lock, in which the flows of that lock run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from dataflare_host.cli import main
from dataflare_host.discover import discover
from dataflare_packages.inline import interpreter_of

from .conftest import Answer, Release
from .projects import FLOW, greetings, other_wheel, wants


@pytest.fixture
def ready(release: Release, shelf: Path, project: Path, answer: Answer) -> Path:
    """A project with an inline plugin that needs what the interpreter of the tests has not."""
    greetings(shelf, "1.0", "2.0")
    release("hello", "greeting<2")
    wants(project, 'hello: version = ""\nisolation = "inline"', 'std: version = ""')
    (project / "in.jsonl").write_text('{"n": 1}\n')
    (project / "flow.yaml").write_text(FLOW)
    assert answer("lock")[1]["environments"] == [""]
    assert (project / "locks" / "pylock.toml").exists()
    return project


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "dataflare_host", *map(str, words)]


def run(project: Path) -> tuple[int, Any]:
    words = command("run", project / "flow.yaml", "--locked", "--json")
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_a_locked_run_is_in_the_environment_of_its_lock(ready: Path, answer: Answer) -> None:
    code, told = run(ready)
    assert (code, told["problems"][0]["code"]) == (2, "lock.not_synced")
    assert answer("sync", "--locked")[0] == 0
    code, told = run(ready)
    assert (code, told["status"]) == (0, "finished"), told["problems"]
    assert json.loads((ready / "out.jsonl").read_text()) == {"n": 1, "said": "1.0"}


def environments(folder: Path) -> dict[str, int]:
    """The whole environments there → when each was made."""
    return {each.parent.name: each.parent.stat().st_ctime_ns for each in folder.glob("*/environment.json")}


def test_the_environment_is_shared_and_made_anew_where_it_was_damaged(
    ready: Path, answer: Answer, tmp_path: Path
) -> None:
    place = tmp_path / "cache" / "envs"
    assert answer("sync", "--locked")[0] == 0
    (made,) = environments(place)
    other = tmp_path / "other"
    shutil.copytree(ready, other, ignore=shutil.ignore_patterns("installed.json"))
    assert run(other)[0] == 2
    assert main(["plugin", "sync", "--locked", "--project", str(other)]) == 0
    assert list(environments(place)) == [made]
    assert run(other)[0] == 0
    (module,) = place.glob("*/lib/*/site-packages/greeting.py")
    module.unlink()  # not written into: uv's cache has the same file
    module.write_text("word = 'changed'\n")
    assert answer("sync", "--locked")[0] == 0
    assert module.read_text() == "word = '1.0'\n"
    assert run(ready)[0] == 0


def test_an_environment_whose_loan_is_gone_is_not_used_and_made_anew(
    ready: Path, answer: Answer, tmp_path: Path
) -> None:
    assert answer("sync", "--locked")[0] == 0
    (linked,) = (tmp_path / "cache" / "envs" / "linked").glob("*/dataflare_std")
    linked.unlink()
    linked.symlink_to(tmp_path / "gone")
    code, told = run(ready)
    assert (code, told["problems"][0]["code"]) == (2, "lock.not_synced")
    assert answer("sync", "--locked")[0] == 0
    assert run(ready)[0] == 0


def test_nothing_of_the_launching_interpreter_is_there_that_is_not_lent(ready: Path, answer: Answer) -> None:
    assert answer("sync", "--locked")[0] == 0
    (entry,) = json.loads((ready / ".dataflare" / "installed.json").read_text())["inline"].values()
    code = """
import importlib.metadata as m, importlib.util as u, json
from dataflare_host.discover import discover
print(json.dumps([m.version("greeting"), u.find_spec("mypy") is None, sorted(discover().plugins)]))
"""
    python = Path(entry["folder"]) / "bin" / "python"
    words = [str(python), "-I", "-c", code]
    version, bare, plugins = json.loads(subprocess.run(words, capture_output=True, check=True, timeout=60).stdout)
    assert (version, bare) == ("1.0", True)
    assert plugins == sorted(discover().plugins)


def test_signals_and_exit_codes_are_those_of_the_run(ready: Path, answer: Answer) -> None:
    assert answer("sync", "--locked")[0] == 0
    flow = ready / "flow.yaml"
    endless = "sources: {in: {uses: std/generate, with: {rate: 10/s}}}"
    flow.write_text(FLOW.replace(FLOW.splitlines()[3], endless))
    running = subprocess.Popen(command("run", flow, "--locked", "--json"), stdout=subprocess.PIPE, text=True)
    try:
        words = command("flow", "status", flow, "--json")
        while running.poll() is None and subprocess.run(words, capture_output=True, timeout=60).returncode:
            pass
        assert b"/envs/" in Path(f"/proc/{running.pid}/cmdline").read_bytes()
        pruned = subprocess.run(command("env", "prune", "--unused", "0s", "--json"), capture_output=True, timeout=60)
        assert json.loads(pruned.stdout) == {"deleted": []}
        os.kill(running.pid, signal.SIGTERM)
        told = json.loads(running.communicate(timeout=60)[0].splitlines()[-1])
    finally:
        running.kill()
    assert (running.returncode, told["status"]) == (0, "stopped")
    flow.write_text(FLOW.replace("hello/say", "hello/nothing"))
    assert run(ready)[0] == 2


def test_what_is_here_in_the_locked_version_needs_no_environment(
    release: Release, shelf: Path, project: Path, answer: Answer, tmp_path: Path
) -> None:
    version = metadata.version("pluggy")
    other_wheel(shelf, "pluggy", version)
    release("hello", "pluggy")
    wants(project, 'hello: version = ""\nisolation = "inline"', 'std: version = ""')
    assert answer("sync")[0] == 0
    assert (project / "locks" / "pylock.toml").exists()
    assert not environments(tmp_path / "cache" / "envs")
    assert interpreter_of(project) is None


@pytest.mark.parametrize("moment", ["install_pinned", "unmet", "link_all", "os.replace"])
def test_a_sync_that_was_killed_leaves_no_environment_and_two_at_once_make_one(
    ready: Path, answer: Answer, tmp_path: Path, moment: str
) -> None:
    words = command("plugin", "sync", "--locked", "--project", ready)
    code = (
        "import os, signal, sys; import dataflare_worker.environments as made\n"
        f"made.{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"from dataflare_host.cli import main; sys.exit(main({words[3:]!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -9
    assert not environments(tmp_path / "cache" / "envs")
    assert run(ready)[1]["problems"][0]["code"] == "lock.not_synced"
    running = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [each.wait(120) for each in running] == [0, 0]
    assert len(environments(tmp_path / "cache" / "envs")) == 1
    assert run(ready)[0] == 0


def test_a_reload_goes_on_in_the_environment_that_the_lock_then_has(
    ready: Path, release: Release, answer: Answer
) -> None:
    """The new version needs other distributions: the flow goes to a process of their environment, what ran stays."""
    assert answer("sync", "--locked")[0] == 0
    flow = ready / "flow.yaml"
    endless = "sources: {in: {uses: std/generate, with: {rate: 1000/s}}}"
    flow.write_text(FLOW.replace(FLOW.splitlines()[3], endless) + "checkpoint: {interval: 50ms}\n")
    running = subprocess.Popen(command("run", flow, "--locked", "--json"), stdout=subprocess.PIPE, text=True)
    try:
        words = command("flow", "status", flow, "--json")
        while running.poll() is None and subprocess.run(words, capture_output=True, timeout=60).returncode:
            pass
        release("hello", "greeting>=2", version="1.1.0")
        done = subprocess.run(
            command("plugin", "reload", flow, "hello@1.1.0", "--json"), capture_output=True, text=True, timeout=120
        )
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["outcome"] == "kept", json.dumps(told)
        os.kill(running.pid, signal.SIGTERM)
        ended = json.loads(running.communicate(timeout=60)[0].splitlines()[-1])
    finally:
        running.kill()
    assert (running.returncode, ended["status"]) == (0, "stopped"), ended
    said = [json.loads(line)["said"] for line in (ready / "out.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(said)) == ["1.0", "2.0"]
    assert len(said) == ended["rows"]["written"]
