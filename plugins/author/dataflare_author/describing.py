"""Asks a plugin that runs as a process what it holds."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataflare.errors import Failed
from dataflare.guest.frames import Frame
from dataflare_author.toolchain import ending

SECONDS = 60.0


def ask(words: Sequence[str], folder: Path, plugin: str) -> dict[str, Any]:
    """The answer to ``describe`` of a process that serves frames. Raises Failed ``author.describe``."""
    request, said = Frame({"op": "describe"}).pack(), b""
    try:
        done = subprocess.run(words, cwd=folder, input=request, capture_output=True, timeout=SECONDS)
        said = done.stderr
        return Frame.unpack(done.stdout).header
    except (subprocess.TimeoutExpired, Failed) as error:
        cause = ending(said.decode("utf-8", "replace"), str(error))
        message = f"`{plugin}` was built, and does not say what it holds"
        fix = "run its tests: they show what goes wrong when it is loaded"
        raise Failed.of("author.describe", message, cause=cause, file=str(folder), fix=fix) from error
