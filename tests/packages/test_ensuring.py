"""``env ensure`` makes the environments of a plan's lock; ``env prune`` deletes what nobody uses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflare_host.cli import main
from dataflare_worker.environments import Environments, Recipe

from .conftest import Answer, Release
from .projects import FLOW, greetings, other_wheel, wants

Ensure = Callable[..., tuple[int, Any]]


@pytest.fixture
def ready(release: Release, shelf: Path, project: Path, answer: Answer) -> Path:
    """A locked project with two plugins in workers and one inline; the flow uses one of the first."""
    greetings(shelf, "1.0", "2.0")
    release("hello", "greeting<2")
    release("other", "greeting")
    release("close", "lower")
    wants(
        project,
        'hello: version = ""',
        'other: version = ""',
        'close: version = ""\nisolation = "inline"',
        'std: version = ""',
    )
    (project / "flow.yaml").write_text(FLOW)
    (project / "in.jsonl").write_text('{"n": 1}\n')
    assert answer("lock")[0] == 0
    return project


@pytest.fixture
def ensure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ensure:
    def run(plan: Path, *words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = main(["env", "ensure", str(plan), str(tmp_path / "made"), *map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def seen(python: str, module: str) -> str:
    words = [python, "-I", "-c", f"import {module} as m; print(getattr(m, 'word', ''))"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.strip()


def test_a_flow_has_all_environments_of_its_lock_without_being_synced(ready: Path, ensure: Ensure) -> None:
    code, told = ensure(ready / "flow.yaml")
    by_plugin = {each["plugin"]: each for each in told["environments"]}
    assert (code, sorted(by_plugin)) == (0, ["", "hello", "other"])
    assert all(each["made"] for each in by_plugin.values())
    assert (seen(by_plugin["hello"]["python"], "greeting"), seen(by_plugin["other"]["python"], "greeting")) == (
        "1.0",
        "2.0",
    )
    assert by_plugin[""]["kind"] == "inline"
    assert not any(each["made"] for each in ensure(ready / "flow.yaml")[1]["environments"])
    assert not (ready / ".dataflare" / "plugins" / "hello").exists()


def test_a_plan_has_what_its_steps_use_and_only_by_its_own_lock(
    ready: Path, answer: Answer, ensure: Ensure, shelf: Path, tmp_path: Path
) -> None:
    assert answer("sync", "--locked")[0] == 0
    words = [sys.executable, "-m", "dataflare_host", "run", str(ready / "flow.yaml"), "--locked", "--plan-only"]
    plan = tmp_path / "plan.json"
    plan.write_text(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)
    code, told = ensure(plan, "--project", ready)
    assert (code, [each["plugin"] for each in told["environments"]]) == (0, ["hello", ""])
    assert told["lock"] == json.loads(plan.read_text())["lock"]
    made = {Path(each["folder"]).name for each in told["environments"]}
    assert made <= {each.name for each in (tmp_path / "cache" / "envs").iterdir()}  # as the run has them
    other_wheel(shelf, "greeting", "1.5")
    assert answer("upgrade")[0] == 0
    code, told = ensure(plan)
    assert (code, told["errors"][0]["code"]) == (2, "lock.plan")
    plan.write_text("{}")
    assert ensure(plan)[1]["errors"][0]["code"] == "lock.plan"


def test_what_is_in_use_is_not_pruned(tmp_path: Path) -> None:
    folder = tmp_path / "envs"
    code = (
        "import sys; from pathlib import Path; from dataflare_worker.environments import Environments\n"
        "print(Environments(Path(sys.argv[1])).python([], 'p'), flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        python = Path(running.stdout.readline().strip())
        assert Environments(folder).prune(0) == []
        assert Environments(folder).prune(3600) == []
        running.communicate(timeout=60)
    assert Environments(folder).prune(3600) == []
    assert Environments(folder).prune(0) == [python.parents[1].name]
    assert not python.exists()
    assert Environments(folder).ready(Recipe.of("p", []))[1] is True
