"""Plugins in Python: packages of modules, with an environment of their own where the folder has one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError, Failed
from dataflare_author import toolchain
from dataflare_author.folder import Folder
from dataflare_author.languages import Described
from dataflare_author.wheel import files_below

_TOLD = Path(__file__).with_name("told_by_python.py")
_TESTS = "pytest"


class Python:
    """Builds with the folder's ``.venv``, else with this interpreter."""

    def check(self, folder: Folder) -> None:
        """Nothing is compiled; but the package must be where the wheel wants it."""
        package = folder.path / folder.names.package
        if folder.manifest_file.parent != package:
            raise ConfigError.of(
                "author.package",
                f"the package of `{folder.manifest.id}` is not `{folder.names.package}`",
                cause=f"the manifest lies in `{folder.manifest_file.parent.name}`",
                file=str(folder.manifest_file),
                fix=f"rename the package to `{folder.names.package}`, and give `entry` that name",
            )

    def compile(self, folder: Folder, stage: Path) -> None:
        """The modules as they are."""
        source = folder.manifest_file.parent
        for name, content in files_below(source, ".").items():
            target = stage / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def describe(self, folder: Folder, stage: Path) -> Described:
        """Import the plugin in a process of its own, and ask what it holds."""
        entry = folder.manifest.entry or folder.names.package
        with tempfile.TemporaryDirectory() as aside:
            told = Path(aside, "told.json")
            variables = {**os.environ, "PYTHONPATH": _path(stage.parent), "PYTHONDONTWRITEBYTECODE": "1"}
            words = [interpreter(folder), str(_TOLD), entry, str(told)]
            done = subprocess.run(words, cwd=folder.path, env=variables, capture_output=True, text=True, timeout=300)
            if done.returncode:
                raise _broken(folder, done.stderr)
            read = json.loads(told.read_text("utf-8"))
        return Described(read["answer"], {(kind, name): target for kind, name, target in read["targets"]})

    def metadata(self, folder: Folder) -> dict[str, Any]:
        """What ``pyproject.toml`` says that the code needs."""
        project = folder.project()
        _refuse_other_words(folder, project)
        needs = project.get("dependencies", [])
        return {"Requires_Python": project.get("requires-python", ">=3.11"), "Requires_Dist": needs}

    def test(self, folder: Folder, words: tuple[str, ...]) -> int:
        """``pytest``, with the package on the path."""
        python = interpreter(folder)
        if subprocess.run([python, "-c", f"import {_TESTS}"], capture_output=True, timeout=60).returncode:
            fix = f"`{python} -m pip install {_TESTS}`"
            raise ConfigError.of("author.tool_missing", f"`{_TESTS}` is not installed for `{python}`", fix=fix)
        variables = {**os.environ, "PYTHONPATH": _path(folder.path)}
        command = [python, "-m", _TESTS, "-q", *(words or ["tests"])]
        return subprocess.run(command, cwd=folder.path, env=variables).returncode


def interpreter(folder: Folder) -> str:
    """The interpreter of the folder's ``.venv``, else this one."""
    own = folder.path / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(own) if own.exists() else sys.executable


def _path(first: Path) -> str:
    return os.pathsep.join([str(first), *filter(None, [os.environ.get("PYTHONPATH")])])


def _refuse_other_words(folder: Folder, project: Mapping[str, Any]) -> None:
    """Name and version stand in two files; they must not differ."""
    file = folder.path / "pyproject.toml"
    for word, wanted in (("name", folder.names.distribution), ("version", folder.manifest.version)):
        told = project.get(word, wanted)
        same = re.sub(r"[-_.]+", "-", str(told)).lower() == wanted if word == "name" else told == wanted
        if not same:
            message = f"`{file.name}` says {word} `{told}`, the manifest `{wanted}`"
            place = {"file": str(file), "pointer": f"/project/{word}"}
            raise ConfigError.of("author.project", message, fix="give both the same", **place)


def _broken(folder: Folder, said: str) -> Failed:
    last = said.strip().splitlines()[-1] if said.strip() else ""
    fix = "correct what the cause names"
    if re.match(r"(ModuleNotFound|Import)Error", last):
        fix = f"make an environment for it: `python -m venv .venv && .venv/bin/pip install {toolchain.SDK} …`"
    message = f"`{folder.manifest.id}` cannot be imported: {last}"
    return Failed.of("author.describe", message, cause=toolchain.ending(said), file=str(folder.path), fix=fix)
