"""The commands as scripts call them, and wheels to change."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wheel_files
from wheel_files import Files, pack, unpacked

from dataflare_author.building import build
from dataflare_author.folder import folder_at
from dataflare_author.names import new_names
from dataflare_author.scaffold import scaffold
from dataflare_host.app import Host
from dataflare_host.cli import main


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Runs a command line with --json: its exit code, and the document that it prints."""

    def run(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        out = capsys.readouterr().out
        return code, json.loads(out.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a Python sink, which asks for something."""
    folder = scaffold(new_names("acme-post"), "python", "sink", tmp_path_factory.mktemp("built")).folder
    with Host.start() as host:
        return build(folder_at(folder), host).wheel


@pytest.fixture
def changed(built: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a wheel of that one's files after a change; with ``sealed`` RECORD is written anew."""

    def make(change: Callable[[Files], object] = lambda files: None, sealed: bool = True) -> Path:
        files = unpacked(built)
        change(files)
        records = any(name.endswith("/RECORD") for name in files)
        return pack(tmp_path / built.name, wheel_files.sealed(files) if sealed and records else files)

    return make
