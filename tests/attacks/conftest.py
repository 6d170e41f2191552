"""An index, a project that trusts it over a server that can lie, and the commands as scripts call them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from index.lying import Liar
from packages.projects import wheel

from dataflare_host.cli import main
from dataflare_index.checking import root_of
from dataflare_index.publishing import add, init
from dataflare_index.trusted import trust

Run = Callable[..., tuple[int, Any]]
Publish = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line with --json: its exit code, and the document that it prints."""

    def call(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return call


@pytest.fixture
def index(tmp_path: Path) -> Path:
    init(tmp_path / "index", "main")
    return tmp_path / "index"


@pytest.fixture
def publish(index: Path, tmp_path: Path) -> Publish:
    """Publishes a plugin in the index; gives its wheel."""

    def call(*words: Any, **more: Any) -> Path:
        made = wheel(tmp_path / "made", *words, **more)
        add(index, [made])
        return made

    return call


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    return place


@pytest.fixture
def liar(index: Path) -> Iterator[Liar]:
    made = Liar(index)
    yield made
    made.close()


@pytest.fixture
def trusting(project: Path, index: Path, liar: Liar, publish: Publish, run: Run) -> Path:
    """A project that has `left` 1.0.0 from the index; there is a newer one meanwhile."""
    publish("left")
    trust(project, liar.address, root_of(index))
    assert run("plugin", "add", "left", "--project", project)[0] == 0
    publish("left", "1.1.0")
    return project
