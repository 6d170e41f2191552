"""A set becomes a lock, a lock what is installed: nothing that was not accepted, nothing by halves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflare_host.app import Host
from dataflare_host.cli import main
from dataflare_index.checking import root_of
from dataflare_index.publishing import add, init, yank
from dataflare_index.trusted import trust

from .conftest import Answer
from .projects import wants, wheel

Publish = Callable[..., Path]
HTTP = 'http = [{ host = "api.example", reason = "to ask" }]'


def test_a_set_is_locked_synced_and_used(publish: Publish, project: Path, answer: Answer) -> None:
    publish("left", "1.0.0", {"shared": ">=1", "std": ">=1"})
    publish("shared", "1.0.0")
    publish("shared", "1.1.0")
    wants(project, 'left: version = ">=1"')
    code, told = answer("lock")
    assert (code, told["plugins"]) == (0, {"left": "1.0.0", "shared": "1.1.0"})
    text = (project / "dataflare.lock").read_text()
    assert answer("lock")[1]["written"] is False
    publish("other")  # another snapshot of the index
    assert answer("lock")[1]["written"] is False
    assert (project / "dataflare.lock").read_text() == text
    code, told = answer("sync", "--locked")
    assert (code, sorted(told["installed"])) == (0, ["left", "shared"])
    assert answer("sync", "--locked", "--offline")[1]["kept"] == ["left", "shared"]
    with Host.start() as host:
        host.enter(project)
        assert host.table().plugins["shared"].version == "1.1.0"
        assert host.table().find("processor", "left/few").version == "1.0.0"


def test_locked_versions_stay_until_they_are_upgraded(publish: Publish, project: Path, answer: Answer) -> None:
    publish("left", "1.0.0")
    assert answer("add", "left>=1")[0] == 0
    publish("left", "1.1.0")
    assert answer("lock")[1]["plugins"] == {"left": "1.0.0"}
    told = answer("outdated")[1]["outdated"]
    assert told == [{"plugin": "left", "locked": "1.0.0", "newest": "1.1.0", "within": True}]
    text = (project / "dataflare.lock").read_text()
    code, told = answer("upgrade", "--plan")
    assert (code, told["changes"]) == (0, [{"plugin": "left", "from": "1.0.0", "to": "1.1.0"}])
    assert (project / "dataflare.lock").read_text() == text
    assert answer("upgrade")[1]["plugins"] == {"left": "1.1.0"}
    assert answer("sync", "--locked")[1]["installed"] == ["left"]
    assert answer("remove", "left")[0] == 0
    assert json.loads((project / ".dataflare/installed.json").read_text())["plugins"] == {}


def test_where_no_versions_go_together_the_reason_is_told(publish: Publish, project: Path, answer: Answer) -> None:
    publish("left", "1.0.0", {"shared": "<2"})
    publish("left", "2.0.0", {"shared": ">=2"})
    publish("right", "1.0.0", {"shared": ">=2"})
    publish("shared", "1.0.0")
    publish("shared", "2.0.0")
    wants(project, 'left: version = "<2"', 'right: version = ""')
    code, told = answer("lock")
    assert (code, told["core"]) == (3, {"left": "<2", "right": ""})
    assert {"name": "left", "wanted": "==2.0.0", "gives": "2.0.0"} in told["fixes"]
    assert len(told["chains"]) == 2
    assert not (project / "dataflare.lock").exists()
    wants(project, 'left: version = ">=2,<1"')
    code, told = answer("lock")
    assert (code, told["fixes"][0]["wanted"]) == (3, "==2.0.0")


def test_rights_wait_until_they_are_accepted(publish: Publish, project: Path, answer: Answer) -> None:
    publish("left", "1.0.0")
    assert answer("add", "left")[0] == 0
    publish("left", "1.1.0", asks=HTTP)
    assert answer("upgrade", "--plan")[1]["differences"]["left"][0]["what"] == "permission"
    for words in (("upgrade", "--plan"), ("upgrade",)):
        code, told = answer(*words)
        assert (code, told["waits"][0]["plugin"], told["waits"][0]["change"]) == (5, "left", "permissions")
        assert told["waits"][0]["asks"] == [{"permission": "http", "host": "api.example", "reason": "to ask"}]
    assert answer("lock")[1]["plugins"] == {"left": "1.0.0"}
    assert answer("upgrade", "--grant")[0] == 0
    assert 'grants = {http = [{host = "api.example"}]}' in (project / "dataflare.lock").read_text().replace(
        "\n    ", ""
    ).replace(",\n]", "]").replace("\n]", "]")
    assert answer("upgrade")[0] == 0
    assert answer("why", "left")[1]["grants"] == {"http": [{"host": "api.example"}]}


def test_a_name_in_two_indexes_is_nobodys(publish: Publish, project: Path, answer: Answer, tmp_path: Path) -> None:
    publish("left")
    second = tmp_path / "second"
    init(second, "second")
    add(second, [wheel(tmp_path / "squatted", "left", "9.0.0")])
    trust(project, str(second), root_of(second))
    wants(project, 'left: version = ""')
    code, told = answer("lock")
    assert (code, told["attack"]) == (4, "squatted_name")
    wants(project, 'left: index = "main"')
    assert answer("lock")[1]["plugins"] == {"left": "1.0.0"}


def test_what_is_locked_is_kept_when_it_is_yanked_and_audit_says_so(
    publish: Publish, project: Path, index: Path, answer: Answer
) -> None:
    publish("left", "1.0.0")
    publish("left", "1.1.0rc1")
    assert answer("add", "left")[1]["version"] == "1.0.0"
    assert answer("audit")[1] == {"ok": True, "findings": [], "checked": ["left"]}
    yank(index, "left", "1.0.0", "loses rows")
    assert answer("lock")[1]["plugins"] == {"left": "1.0.0"}
    code, told = answer("audit")
    assert (code, [each["finding"] for each in told["findings"]]) == (1, ["yanked"])
    package = next(project.glob(".dataflare/plugins/left/*/dataflare_left"))
    (package / "dataflare.toml").write_text("other")
    assert "damaged" in [each["finding"] for each in answer("audit")[1]["findings"]]
    assert answer("sync", "--locked")[1]["installed"] == ["left"]


def test_set_and_lock_that_disagree_are_told(publish: Publish, project: Path, answer: Answer) -> None:
    assert answer("sync", "--locked")[1]["errors"][0]["code"] == "lock.none"
    publish("left")
    publish("right")
    assert answer("add", "left")[0] == 0
    wants(project, 'left: version = ""', 'right: version = ""')
    code, told = answer("sync", "--locked")
    assert (code, told["errors"][0]["code"], "right" in told["errors"][0]["cause"]) == (2, "lock.set_differs", True)
    assert answer("sync")[1]["installed"] == ["right"]


def test_an_entry_of_the_set_that_is_no_table_is_told(project: Path, answer: Answer) -> None:
    with (project / "plugins.toml").open("a") as file:
        file.write('[plugins]\nstd = ">=1"\n')
    code, told = answer("lock")
    assert (code, told["errors"][0]["code"]) == (2, "author.set")


def test_plugins_that_need_each_other_are_locked_and_shown(publish: Publish, project: Path, answer: Answer) -> None:
    publish("left", "1.0.0", {"right": ""})
    publish("right", "1.0.0", {"left": ">=1"})
    assert answer("add", "left")[0] == 0
    assert answer("tree")[1]["roots"][0]["needs"][0]["needs"][0]["cycle"] is True
    assert len(answer("why", "right")[1]["chains"]) == 1


@pytest.mark.parametrize("moment", ["replace", "fsync", "mkdtemp"])
def test_what_ends_a_sync_leaves_the_old_set(
    publish: Publish, project: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A crash, a loss of power, a full disk: at each moment at which something is written."""
    publish("left", "1.0.0")
    publish("right", "1.0.0")
    wants(project, 'left: version = ""', 'right: version = ""')
    assert answer("sync")[0] == 0
    publish("left", "1.1.0")
    publish("right", "1.1.0")
    assert answer("upgrade")[0] == 0
    import os
    import tempfile

    home = tempfile if moment == "mkdtemp" else os
    true = getattr(home, moment)
    for count in range(12):
        left = [count]

        def failing(*words: Any, left: list[int] = left, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return true(*words, **more)

        with monkeypatch.context() as patched:
            patched.setattr(home, moment, failing)
            code, _ = answer("sync", "--locked", "--offline" if count > 3 else "--locked")
        told = json.loads((project / ".dataflare/installed.json").read_text())["plugins"]
        versions = {name: each["version"] for name, each in told.items()}
        assert versions in ({"left": "1.0.0", "right": "1.0.0"}, {"left": "1.1.0", "right": "1.1.0"})
        for each in told.values():
            assert (project / each["folder"] / "dataflare.toml").exists()
        if code == 0:
            break
    assert answer("sync", "--locked")[0] == 0


def test_a_wheel_that_is_not_the_locked_one_is_refused(
    publish: Publish, project: Path, index: Path, answer: Answer, tmp_path: Path
) -> None:
    made = publish("left")
    wants(project, 'left: version = ""')
    assert answer("lock")[0] == 0
    target = next(index.glob("files/left/*.whl"))
    target.write_bytes(wheel(tmp_path / "swapped", "left", needs={"std": ""}).read_bytes())
    code, told = answer("sync", "--locked")
    assert (code, told["attack"]) == (4, "arbitrary_content")
    assert not (project / ".dataflare/installed.json").exists()
    shutil.copy(made, target)
    assert answer("sync", "--locked")[0] == 0


def test_a_locked_run_uses_the_lock_or_refuses(
    publish: Publish, project: Path, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "in.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    (project / "flow.yaml").write_text(
        "version: 1\nname: few\n"
        "sources: {in: {uses: std/files, with: {path: in.jsonl}}}\n"
        "steps: {few: {uses: left/few, from: in}}\n"
        "sinks: {out: {uses: std/files, from: few, with: {path: out.jsonl}}}\n"
    )

    def run() -> tuple[int, str]:
        code = main(["run", str(project / "flow.yaml"), "--locked", "--json"])
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        return code, told["problems"][0]["code"] if told["problems"] else told["status"]

    publish("left", "1.0.0")
    wants(project, 'left: version = ""')
    assert run() == (2, "lock.none")
    assert answer("lock")[0] == 0
    assert run() == (2, "lock.not_synced")
    assert answer("sync", "--locked")[0] == 0
    assert run() == (2, "lock.not_locked")
    wants(project, 'left: version = ""', 'std: version = ">=1"')
    assert run() == (2, "lock.set_differs")
    assert answer("sync")[0] == 0
    assert run() == (0, "finished")
    assert (project / "out.jsonl").read_text() == '{"n":2}\n'
    text = (project / "dataflare.lock").read_text()
    (project / "dataflare.lock").write_text(text.replace('std = "1.0.0"', 'std = "0.9.0"'))
    assert run() == (2, "lock.not_synced")
