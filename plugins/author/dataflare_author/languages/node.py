"""Plugins in TypeScript and JavaScript: one script, bundled by esbuild."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError
from dataflare_author import toolchain
from dataflare_author.describing import ask
from dataflare_author.folder import Folder
from dataflare_author.languages import Described
from dataflare_author.languages.go import targets_of

_SDK = Path("node_modules", "@dataflare", "sdk")
_INSTALL = ("install", "--no-audit", "--no-fund", "--loglevel=error")


class Node:
    """Builds with the folder's ``node_modules``, which are installed where they are missing or older than asked for."""

    def check(self, folder: Folder) -> None:
        """Are Node.js and npm there, and the packages that the plugin names?"""
        toolchain.find(toolchain.NODE)
        npm = toolchain.find(toolchain.NPM)
        if _installed(folder.path):
            return
        fix = "npm must reach its registry, or have the packages in its cache: see the cause"
        toolchain.run([npm, *_INSTALL], folder.path, what="`npm install`", fix=fix, variables=os.environ)

    def compile(self, folder: Folder, stage: Path) -> None:
        """``plugin.js`` and its source map."""
        words = [toolchain.find(toolchain.NODE), str(_SDK / "bundle.mjs"), _entry(folder), str(_script(folder, stage))]
        fix = "correct the lines that are named"
        toolchain.run(words, folder.path, what="esbuild", fix=fix, variables=os.environ)

    def describe(self, folder: Folder, stage: Path) -> Described:
        """What the script answers under Node."""
        script = _script(folder, stage)
        with tempfile.TemporaryDirectory() as aside:  # in the plugin's folder Node takes it for a module
            copied = shutil.copy(script, aside)
            words = [toolchain.find(toolchain.NODE), str(_SDK / "serve.mjs"), copied]
            answer = ask(words, folder.path, folder.manifest.id)
        return Described(answer, targets_of(answer, script.name))

    def metadata(self, folder: Folder) -> dict[str, Any]:
        """Pure data: nothing is needed."""
        return {}

    def test(self, folder: Folder, words: tuple[str, ...]) -> int:
        """``npm test``: the script of ``package.json``."""
        more = ["--", *words] if words else []
        command = [toolchain.find(toolchain.NPM), "test", "--silent", *more]
        return subprocess.run(command, cwd=folder.path).returncode


def _installed(path: Path) -> bool:
    """Is what ``package.json`` asks for there? npm writes the hidden lock file last."""
    done = path / "node_modules" / ".package-lock.json"
    try:
        return (path / _SDK).exists() and done.stat().st_mtime >= (path / "package.json").stat().st_mtime
    except OSError:
        return False


def _script(folder: Folder, stage: Path) -> Path:
    return stage / (folder.manifest.entry or "plugin.js")


def _entry(folder: Folder) -> str:
    """The module that exports the components: ``main`` of ``package.json``. Raises ConfigError ``author.project``."""
    file = folder.path / "package.json"
    try:
        told = json.loads(file.read_text("utf-8"))
        if isinstance(told, dict) and isinstance(main := told.get("main"), str) and (folder.path / main).is_file():
            return main
        cause = "`main` must name the module that exports the components"
    except ValueError as error:
        cause = f"it is not JSON: {error}"
    place = {"file": str(file), "pointer": "/main"}
    raise ConfigError.of(
        "author.project", f"`{file.name}` does not say what to build", cause=cause, fix="mend it", **place
    )
