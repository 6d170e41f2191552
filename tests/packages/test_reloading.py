"""``plugin reload FLOW NAME@VERSION``: the version comes from an index or from what is unpacked, and may go."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflare_host import Host
from dataflare_host.cli import main
from dataflare_host.run import run_plan
from dataflare_index.publishing import add

from .conftest import Answer
from .projects import Files, python_wheel, repacked

SHOP = '''
from pathlib import Path
from dataflare import Idle, source

ENOUGH = Path(__file__).with_name("enough")

@source
def numbers(position: int = 0):
    """Numbers, a hundred to a batch, until the file `enough` is there."""
    while not ENOUGH.exists():
        yield {"n": list(range(position, position + 100))}, position + 100
        position += 100
        yield Idle(after=0.005)
'''
FLOW = """
version: 1
name: said
sources:
  numbers: {uses: ./shop.py/numbers}
steps:
  said: {uses: voice/say, from: numbers}
sinks:
  out: {uses: std/files, from: said, with: {path: out/, format: jsonl}}
checkpoint: {interval: 60ms}
guarantee: exactly_once
"""
CODE = '''
from dataflare import Batch, processor

@processor(cardinality="one")
def say(batch: Batch, ctx) -> Batch:
    """Says which version it is."""
    {call}
    return batch.with_column("version", "{version}")
'''
ASKS = b'\n[permissions]\nenv = [{ name = "HOME", reason = "to look" }]\n'


def files_of(project: Path) -> dict[str, bytes]:
    """What says which versions a project has."""
    names = ("plugins.toml", "dataflare.lock", ".dataflare/installed.json")
    return {name: (project / name).read_bytes() for name in names}


@pytest.fixture
def voice(index: Path, tmp_path: Path) -> Callable[..., None]:
    """Publishes a version of the plugin."""

    def publish(version: str, call: str = "pass", change: Callable[[Files], object] | None = None) -> None:
        made = python_wheel(tmp_path / "built", "voice", version, CODE.format(call=call, version=version))
        add(index, [made if change is None else repacked(made, change)])

    return publish


@pytest.fixture
def running(project: Path, voice: Callable[..., None], answer: Answer) -> Iterator[Callable[[], list[Any]]]:
    """A flow that runs with version 1.0.0; ends it, and gives what it wrote."""
    voice("1.0.0")
    assert answer("add", "voice>=1,<2")[0] == 0
    (project / "shop.py").write_text(SHOP)
    (project / "flow.yaml").write_text(FLOW)
    host, ended, begun = Host.start(), [], threading.Event()
    plan = host.plan(project / "flow.yaml")
    work = lambda: ended.append(run_plan(plan, host, progress=lambda status: begun.set()))  # noqa: E731
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert begun.wait(60)

    def end() -> list[Any]:
        (project / "enough").touch()
        thread.join(60)
        assert ended[0].status == "finished", ended[0].problems
        return [json.loads(line) for file in (project / "out").rglob("*.jsonl") for line in file.open()]

    yield end
    if not ended:
        end()
    host.stop()


@pytest.fixture
def reload(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    def run(*words: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main(["plugin", "reload", str(project / "flow.yaml"), *words, "--json"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_a_version_of_an_index_comes_stays_and_goes(
    project: Path, voice: Callable[..., None], running: Callable[[], list[Any]], reload: Callable[..., tuple[int, Any]]
) -> None:
    def widened(files: Files) -> None:
        files["dataflare_voice/dataflare.toml"] += ASKS

    voice("1.1.0")
    wishes = (project / "plugins.toml").read_bytes()
    code, told = reload("voice@1.1.0")
    assert (code, told["outcome"], told["reason"], told["replayed"]) == (0, "kept", None, 0)
    held = files_of(project)
    assert held["plugins.toml"] == wishes
    assert b"1.1.0" in held["dataflare.lock"]

    voice("1.2.0", "if len(batch) and ctx.fence: raise RuntimeError('defect')")
    code, told = reload("voice@1.2.0")
    assert (code, told["outcome"]) == (1, "rolled_back")
    assert "defect" in told["reason"]
    assert files_of(project) == held

    voice("1.3.0", change=widened)
    code, told = reload("voice@1.3.0")
    assert (code, told["outcome"], told["errors"][0]["code"]) == (5, "refused", "lock.not_accepted")
    assert told["waits"][0]["asks"][0]["permission"] == "env"
    assert files_of(project) == held
    assert reload("voice@1.3.0", "--grant")[1]["outcome"] == "kept"

    code, told = reload("voice@1.9.0")
    assert (code, told["outcome"], told["errors"][0]["code"]) == (3, "refused", "lock.no_solution")
    code, told = reload("nobody@1.0.0")
    assert (code, told["outcome"], told["problem"]["code"]) == (1, "refused", "reload.version")
    assert reload("voice@1.0.0")[1]["outcome"] == "kept"

    rows = running()
    assert sorted(row["n"] for row in rows) == list(range(len(rows)))
    assert {row["version"] for row in rows} == {"1.0.0", "1.1.0", "1.3.0"}


def test_a_version_of_a_file_is_had_as_long_as_it_is_unpacked(
    project: Path,
    tmp_path: Path,
    running: Callable[[], list[Any]],
    reload: Callable[..., tuple[int, Any]],
    answer: Answer,
) -> None:
    for version in ("1.4.0", "1.5.0"):
        made = python_wheel(tmp_path / "built", "voice", version, CODE.format(call="pass", version=version))
        assert answer("add", made)[0] == 0
        assert reload("voice")[1]["outcome"] == "kept"
    assert reload("voice@1.4.0")[1]["outcome"] == "kept"
    held = files_of(project)
    code, told = reload("voice@1.6.0")
    assert (code, told["outcome"], told["problem"]["code"]) == (1, "refused", "reload.version")
    assert files_of(project) == held
    rows = running()
    assert sorted(row["n"] for row in rows) == list(range(len(rows)))
    assert {row["version"] for row in rows} == {"1.0.0", "1.4.0", "1.5.0"}
