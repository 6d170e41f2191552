"""What a project has seen against a locked release acts without asking anybody; `audit` looks up what it has not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataflare_author.wheel_check import read_wheel
from dataflare_host.cli import main
from dataflare_index import authors, publishing
from dataflare_index.advising import advise, revoke
from dataflare_index.authors import Author
from dataflare_index.rotating import rotate
from dataflare_index.signing import newest
from dataflare_index.submitting import submission

from .conftest import Answer
from .projects import wheel

FLOW = """
version: 1
name: few
sources: {in: {uses: std/files, with: {path: in.jsonl}}}
steps: {few: {uses: left/few, from: in}}
sinks: {out: {uses: std/files, from: few, with: {path: out.jsonl}}}
"""
Publish = Callable[..., Path]


@pytest.fixture
def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Author:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return authors.new("Ada")


@pytest.fixture
def ready(index: Path, project: Path, answer: Answer, ada: Author, tmp_path: Path) -> Path:
    """A project that is locked and synced, and whose flow runs."""
    for version in ("1.0.0", "1.1.0"):
        made = wheel(tmp_path / "built", "left", version)
        publishing.add(index, [made], sent=submission([read_wheel(made)], ada))
    assert answer("add", "left")[0] == 0
    assert answer("add", "std")[0] == 0
    (project / "flow.yaml").write_text(FLOW)
    (project / "in.jsonl").write_text('{"n": 2}\n')
    assert main(["run", str(project / "flow.yaml"), "--locked"]) == 0
    return project


@contextmanager
def unreachable(index: Path) -> Iterator[None]:
    """Nobody can be asked."""
    aside = index.rename(index.with_name("elsewhere"))
    yield
    aside.rename(index)


def refused(project: Path, answer: Answer, capsys: pytest.CaptureFixture[str]) -> set[tuple[int, str, str]]:
    """How sync, run and export by the lock refuse: exit code, code, attack."""
    found = set()
    for words in (("sync", "--locked", "--offline"), ("export", project.parent / "bundle.zip")):
        code, told = answer(*words)
        found.add((code, told["errors"][0]["code"], told["attack"]))
    capsys.readouterr()
    code = main(["run", str(project / "flow.yaml"), "--locked", "--json"])
    (problem,) = json.loads(capsys.readouterr().out.splitlines()[-1])["problems"]
    return found | {(code, problem["code"], problem["details"]["attack"])}


def test_malware_is_refused_once_it_was_seen(
    ready: Path, index: Path, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    advise(index, "left", ">=1.1", "malware", "sends rows away")
    assert answer("sync", "--locked", "--offline")[0] == 0  # nobody told this project
    assert answer("audit")[0] == 1
    with unreachable(index):
        assert refused(ready, answer, capsys) == {(4, "lock.withdrawn", "malware")}
        shutil.rmtree(ready / ".dataflare" / "plugins")
        assert answer("sync", "--locked")[0] == 4
        assert not (ready / ".dataflare" / "plugins" / "left").exists()
    assert answer("lock")[1]["plugins"]["left"] == "1.0.0"
    assert answer("sync", "--locked")[0] == 0
    assert main(["run", str(ready / "flow.yaml"), "--locked"]) == 0


def test_what_a_stolen_key_signed_is_refused(
    ready: Path, index: Path, answer: Answer, ada: Author, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = publishing.signed_listing(index, "left")
    (since,) = (each["snapshot"] for each in listed.releases["1.1.0"]["files"].values())
    revoke(index, "left", ada.keyid, since + 1, "stolen later")
    assert answer("audit")[0] == 0
    assert answer("sync", "--locked", "--offline")[0] == 0
    revoke(index, "left", ada.keyid, since, "stolen")
    assert answer("audit")[0] == 1
    with unreachable(index):
        assert refused(ready, answer, capsys) == {(4, "lock.withdrawn", "revoked_key")}


def test_a_lock_from_a_revoked_snapshot_is_refused_and_made_anew(
    ready: Path, index: Path, answer: Answer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = newest(index, "snapshot").signed.version
    (index / "files" / "left" / "x").touch()
    publishing.add(index, [wheel(tmp_path / "evil", "right", "6.6.6")])  # the thief's
    assert answer("add", "right")[0] == 0
    rotate(index, distrust=good + 1, reason="the keys were stolen")
    assert answer("sync", "--locked", "--offline")[0] == 0
    findings = [each["finding"] for each in answer("audit")[1]["findings"]]
    assert "revoked_snapshot" in findings
    with unreachable(index):
        assert refused(ready, answer, capsys) == {(4, "lock.withdrawn", "revoked_snapshot")}
    assert answer("remove", "right")[0] == 0
    assert answer("sync", "--locked", "--offline")[0] == 0


def test_a_lock_that_stays_the_same_leaves_a_revoked_snapshot(
    ready: Path, index: Path, answer: Answer, tmp_path: Path
) -> None:
    good = newest(index, "snapshot").signed.version
    publishing.refresh(index)
    (ready / "dataflare.lock").unlink()
    assert answer("lock")[0] == 0
    rotate(index, distrust=good + 1, reason="the keys were stolen")
    assert answer("audit")[1]["findings"][0]["finding"] == "revoked_snapshot"
    assert answer("sync", "--locked")[0] == 4
    assert answer("lock")[1]["written"] is True
    assert answer("sync", "--locked")[0] == 0
