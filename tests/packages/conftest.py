"""The commands as scripts call them, and a project that trusts an index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflare_host.cli import main
from dataflare_index.checking import root_of
from dataflare_index.publishing import add, init
from dataflare_index.trusted import trust

from .projects import SAY, python_wheel, wheel

Answer = Callable[..., tuple[int, Any]]
Release = Callable[..., Path]


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str], project: Path) -> Answer:
    """Runs a command of plugins on the project with --json: its exit code, and the document that it prints."""

    def run(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = main(["plugin", *map(str, words), "--project", str(project), "--json"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = tmp_path / "index"
    init(place, "main")
    return place


@pytest.fixture
def publish(index: Path, tmp_path: Path) -> Callable[..., Path]:
    """Publishes a plugin in the index; gives its wheel."""

    def run(*words: Any, **more: Any) -> Path:
        made = wheel(tmp_path / "built", *words, **more)
        add(index, [made])
        return made

    return run


@pytest.fixture
def project(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "project"
    place.mkdir()
    trust(place, str(index), root_of(index))
    return place


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels of others, and nothing else that uv could ask."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "nothing").as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return folder


@pytest.fixture
def release(index: Path, tmp_path: Path, shelf: Path) -> Release:
    """Publishes a plugin in Python that needs others."""

    def run(id: str, *requires: str, version: str = "1.0.0") -> Path:
        made = python_wheel(tmp_path / "built", id, version, SAY, requires)
        add(index, [made])
        return made

    return run
