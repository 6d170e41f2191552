"""The commands as scripts call them, and wheels to change."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflare_author.building import build
from dataflare_author.folder import folder_at
from dataflare_author.names import new_names
from dataflare_author.scaffold import scaffold
from dataflare_host.app import Host
from dataflare_host.cli import main

Files = dict[str, bytes]


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
        with zipfile.ZipFile(built) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        record = next((name for name in files if name.endswith("/RECORD")), None)
        if sealed and record is not None:
            files[record] = "".join(_line(name, files[name], name == record) for name in files).encode()
        target = tmp_path / built.name
        with zipfile.ZipFile(target, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return target

    return make


def _line(name: str, content: bytes, own: bool) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},,\n" if own else f"{name},sha256={digest},{len(content)}\n"
