"""Odd wheels, many versions, and several that install at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare import DataflareError
from dataflare_host.app import Host
from dataflare_packages.installing import install
from dataflare_packages.lockfile import Lock, Locked, LockedFile
from dataflare_packages.releases import Here, Release, Shelf
from dataflare_packages.solving import solve

from .conftest import Answer
from .projects import Files, wheel

Publish = Callable[..., Path]


def outside(files: Files) -> None:
    files["../outside"] = b"x"


def unlisted(files: Files) -> None:
    files["dataflare_left/more.py"] = b"x"


def changed(files: Files) -> None:
    files["dataflare_left/dataflare.toml"] += b"# more\n"


def other_id(files: Files) -> None:
    info = "dataflare_left-1.0.0.dist-info/entry_points.txt"
    files[info] = files[info].replace(b"left", b"right")


@pytest.mark.parametrize("change", [outside, unlisted, changed, other_id])
def test_a_wheel_that_is_not_sound_is_not_installed(change: Callable[[Files], None], tmp_path: Path) -> None:
    made = wheel(tmp_path / "built", "left", change=change)
    import hashlib

    file = LockedFile(made.name, hashlib.sha256(made.read_bytes()).hexdigest())
    lock = Lock({"left": ""}, plugins={"left": Locked("1.0.0", index="main", files=(file,))})
    project = tmp_path / "project"
    project.mkdir()
    with Host.start() as host, pytest.raises(DataflareError):
        install(lock, project, host, lambda *_: made)
    assert not (project / ".dataflare" / "installed.json").exists()
    assert not (project / ".dataflare" / "plugins" / "outside").exists()


def test_several_that_install_at_once_leave_one_whole_set(publish: Publish, project: Path, answer: Answer) -> None:
    for name in ("left", "right", "north"):
        publish(name)
        assert answer("add", name)[0] == 0
    (project / ".dataflare" / "installed.json").unlink()
    words = [sys.executable, "-m", "dataflare_host", "plugin", "sync", "--locked", "--project", str(project)]
    running = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    told = json.loads((project / ".dataflare" / "installed.json").read_text())["plugins"]
    assert sorted(told) == ["left", "north", "right"]
    assert all((project / each["folder"] / "dataflare.toml").exists() for each in told.values())


def test_the_newest_of_five_hundred_versions_that_fits_is_taken() -> None:
    releases = {"many": [Release("many", f"1.{number}", {"other": f"<={number}"}) for number in range(500)]}
    releases["other"] = [Release("other", str(number)) for number in range(300, 310)]
    found = solve({"many": "<1.400", "other": ">=305"}, Shelf(lambda name: releases.get(name, ()), Here("1", "1", "3")))
    assert found is not None
    assert (found["many"].version, found["other"].version) == ("1.399", "309")
