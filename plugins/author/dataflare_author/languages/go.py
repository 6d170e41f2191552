"""Plugins in Go: one WASM module, built by the ordinary Go tools."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dataflare_author import toolchain
from dataflare_author.describing import ask
from dataflare_author.folder import Folder
from dataflare_author.languages import Described

_EXPORT = "dataflare_call"
_FIX = "correct the lines that are named; `go build ./...` says the same"


class Go:
    """Builds a reactor for ``wasip1``; describes it by a program for this machine, made of the same package."""

    def check(self, folder: Folder) -> None:
        """Is Go there, and new enough?"""
        toolchain.find(toolchain.GO)

    def compile(self, folder: Folder, stage: Path) -> None:
        """``plugin.wasm``. Paths and version control stay out of it, so that all machines build the same bytes."""
        target = {"GOOS": "wasip1", "GOARCH": "wasm", "CGO_ENABLED": "0"}
        words = ["-buildmode=c-shared", "-o", str(stage / (folder.manifest.entry or "plugin.wasm"))]
        words += ["-tags", "extism"] if folder.manifest.runtime == "extism" else []
        _build(folder, words, target)

    def describe(self, folder: Folder, stage: Path) -> Described:
        """What a program made of the package answers: quicker than the module, which would have to be compiled."""
        with tempfile.TemporaryDirectory() as aside:
            program = Path(aside, "described.exe")  # as Windows wants it named; nobody else minds
            _build(folder, ["-o", str(program)], {})
            answer = ask([str(program)], folder.path, folder.manifest.id)
        extism = folder.manifest.runtime == "extism"  # its loader asks for an export
        return Described(answer, targets_of(answer, _EXPORT if extism else folder.manifest.entry or "plugin.wasm"))

    def metadata(self, folder: Folder) -> dict[str, Any]:
        """Pure data: nothing is needed."""
        return {}

    def test(self, folder: Folder, words: tuple[str, ...]) -> int:
        """``go vet``, then ``go test``."""
        go = toolchain.find(toolchain.GO)
        vetted = subprocess.run([go, "vet", "./..."], cwd=folder.path).returncode
        return vetted or subprocess.run([go, "test", *(words or ["./..."])], cwd=folder.path).returncode


def targets_of(answer: dict[str, Any], entry: str) -> dict[tuple[str, str], str]:
    """The manifest's table of a plugin that is one file: all its components are in there."""
    return {(told["kind"], told["name"]): entry for told in answer.get("components", ())}


def _build(folder: Folder, words: list[str], target: dict[str, str]) -> None:
    command = [toolchain.find(toolchain.GO), "build", "-trimpath", "-buildvcs=false", *words, "."]
    toolchain.run(command, folder.path, what="`go build`", fix=_FIX, variables={**os.environ, **target})
