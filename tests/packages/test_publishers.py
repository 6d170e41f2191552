"""A lock knows who publishes a plugin: it waits where that changes, and takes nothing that it was warned of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dataflare_author.wheel_check import read_wheel
from dataflare_index import authors, clock, publishing
from dataflare_index.advising import advise, revoke
from dataflare_index.authors import Author
from dataflare_index.submitting import submission
from dataflare_packages.lockfile import read_lock

from .conftest import Answer
from .projects import wants, wheel

Sign = Callable[..., Path]


@pytest.fixture
def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Author:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return authors.new("Ada")


@pytest.fixture
def sign(index: Path, tmp_path: Path, ada: Author) -> Sign:
    """Publishes a version of ``left`` as its author does."""

    def run(version: str, author: Author = ada, **more: Any) -> Path:
        made = wheel(tmp_path / f"built-{version}", "left", version, **more)
        publishing.add(index, [made], sent=submission([read_wheel(made)], author))
        return made

    return run


def version(project: Path) -> str:
    lock = read_lock(project)
    assert lock is not None
    return lock.plugins["left"].version


def test_a_lock_says_who_publishes_and_follows_their_keys(
    sign: Sign, project: Path, answer: Answer, ada: Author
) -> None:
    sign("1.0.0")
    assert answer("add", "left")[0] == 0
    assert answer("why", "left")[1]["publisher"] == {"identity": "Ada", "keyid": ada.keyid}
    authors.rotate()
    fresh = authors.rotate()
    sign("1.1.0", fresh)
    assert answer("audit")[1]["findings"] == []
    assert answer("upgrade")[0] == 0
    lock = read_lock(project)
    assert lock is not None
    assert lock.plugins["left"].publisher == {"identity": "Ada", "keyid": fresh.keyid}
    assert answer("sync", "--locked")[0] == 0


def test_another_publisher_waits_until_somebody_accepts(
    sign: Sign, project: Path, index: Path, answer: Answer, ada: Author
) -> None:
    sign("1.0.0")
    assert answer("add", "left")[0] == 0
    locked = (project / "dataflare.lock").read_bytes()
    revoke(index, "left", ada.keyid, 0, "Ada lost it")
    sign("1.1.0", authors.new("Ada", "other"))
    code, told = answer("upgrade")
    assert (code, told["errors"][0]["code"]) == (5, "lock.not_accepted")
    (wait,) = told["waits"]
    assert (wait["change"], wait["before"]["keyid"]) == ("publisher", ada.keyid)
    assert (project / "dataflare.lock").read_bytes() == locked
    assert [each["change"] for each in answer("upgrade", "--plan")[1]["waits"]] == ["publisher"]
    assert answer("upgrade", "--grant")[0] == 5
    assert answer("upgrade", "--accept", "left")[0] == 0
    assert version(project) == "1.1.0"
    assert answer("upgrade")[0] == 0


def test_a_release_that_lost_its_signature_waits(sign: Sign, project: Path, index: Path, answer: Answer) -> None:
    sign("1.0.0")
    assert answer("add", "left")[0] == 0
    sign("1.1.0")
    with publishing.changing(index):
        listed = publishing.signed_listing(index, "left")
        del listed.releases["1.1.0"]["publisher"]
        publishing.write_and_sign(index, listed)
    assert answer("upgrade")[0] == 5


def test_an_index_that_puts_another_wheel_under_a_name_is_refused(
    sign: Sign, project: Path, index: Path, answer: Answer
) -> None:
    made = sign("1.0.0")
    wants(project, 'left: version = ""')
    with publishing.changing(index):
        listed = publishing.signed_listing(index, "left")
        listed.releases["1.0.0"]["files"][made.name]["sha256"] = "0" * 64
        publishing.write_and_sign(index, listed)
    code, told = answer("lock")
    assert (code, told["attack"]) == (4, "swapped_wheel")
    assert not (project / "dataflare.lock").exists()


def test_malware_is_told_of_and_not_chosen(sign: Sign, project: Path, index: Path, answer: Answer) -> None:
    sign("1.0.0")
    sign("1.1.0")
    assert answer("add", "left")[0] == 0
    assert version(project) == "1.1.0"
    advise(index, "left", "<1.2", "vulnerability", "reads what it should not")
    code, told = answer("audit")
    assert (code, [each["finding"] for each in told["findings"]]) == (1, ["advisory"])
    assert answer("lock")[0] == 0
    assert version(project) == "1.1.0"
    advise(index, "left", ">=1.1", "malware", "sends rows away")
    assert any("malware: sends rows away" in each["message"] for each in answer("audit")[1]["findings"])
    assert answer("lock")[0] == 0
    assert version(project) == "1.0.0"
    sign("1.3.0")
    assert answer("upgrade")[0] == 0
    assert version(project) == "1.0.0"
    advise(index, "left", ">=1.1", "malware", "", withdraw=True)
    assert answer("upgrade")[0] == 0
    assert version(project) == "1.3.0"


def test_what_a_stolen_key_signed_is_told_of_and_not_chosen(
    sign: Sign, project: Path, index: Path, answer: Answer, ada: Author
) -> None:
    sign("1.0.0")
    sign("1.1.0")
    assert answer("add", "left")[0] == 0
    listed = publishing.signed_listing(index, "left")
    (since,) = (each["snapshot"] for each in listed.releases["1.1.0"]["files"].values())
    revoke(index, "left", ada.keyid, since, "stolen")
    assert [each["finding"] for each in answer("audit")[1]["findings"]] == ["revoked_key"]
    assert answer("lock")[0] == 0
    assert version(project) == "1.0.0"


def test_what_is_fresh_rests(sign: Sign, project: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    sign("1.0.0")
    (project / "plugins.toml").write_text((project / "plugins.toml").read_text() + '\n[choice]\nrest = "72h"\n')
    code, told = answer("add", "left")
    assert (code, "not chosen: `left` 1.0.0: published" in told["errors"][0]["cause"]) == (3, True)
    assert answer("add", "left==1.0.0")[0] == 0
    later = datetime.now(UTC) + timedelta(days=3, minutes=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    sign("1.1.0")
    wants(project, 'left: version = ">=1"')
    assert answer("upgrade")[0] == 0
    assert version(project) == "1.1.0"
    (project / "plugins.toml").write_text((project / "plugins.toml").read_text().replace("72h", "soon"))
    assert answer("lock")[1]["errors"][0]["code"] == "set.rest"
