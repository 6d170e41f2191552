"""``dataflare doctor``: what could go wrong on this machine, each finding with what to do about it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dataflare import Command, ConfigError
from dataflare_host.cli.output import styled

Json = Any
Level = Literal["ok", "note", "wrong"]
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}
LIBRARIES = ("pyarrow", "polars", "duckdb", "pydantic", "click", "pluggy")


class Finding(NamedTuple):
    """One thing looked at."""

    subject: str
    level: Level
    text: str
    fix: str = ""


class Doctor(Command, name="doctor"):
    """Look for what could go wrong on this machine.

    Looks at Python, libraries, plugins, and the runs and state in each FOLDER (default: the current one). Exit code 1
    if something is wrong.
    """

    def call(self, host: Any, folders: tuple[Path, ...] = ()) -> Json:
        """``{"ok", "findings": [{"subject", "level", "text", "fix"}]}``. Raises ConfigError ``cli.no_folder``."""
        findings = [*_python(), *_libraries(), *_plugins(host)]
        for folder in folders or (Path(),):
            if not folder.is_dir():
                raise ConfigError.of("cli.no_folder", f"there is no folder `{folder}`", fix="check its path")
            findings += [*_runs(folder), *_state(folder)]
        wrong = any(finding.level == "wrong" for finding in findings)
        return {"ok": not wrong, "findings": [finding._asdict() for finding in findings]}

    def show(self, answer: Json) -> str:
        """A line a finding, and what to do about it below."""
        lines = []
        for each in answer["findings"]:
            lines.append(f"{styled(each['level'].ljust(5), COLOURS[each['level']])}  {each['subject']}: {each['text']}")
            lines += [f"       {each['fix']}"] if each["fix"] else []
        return "\n".join(lines)


def _python() -> Iterator[Finding]:
    import sqlite3

    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}, {os.cpu_count()} cores")
    yield Finding("sqlite", "ok", sqlite3.sqlite_version)


def _libraries() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for name in LIBRARIES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "note", "not installed", f"`pip install {name}` where a component needs it")


def _plugins(host: Any) -> Iterator[Finding]:
    plugins = host.table().plugins.values()
    yield Finding("plugins", "ok", ", ".join(f"{each.id} {each.version}" for each in plugins) or "none")
    for problem in host.doctor():
        yield Finding(problem.code, "wrong", f"{problem.message} {problem.place()}".rstrip(), problem.fix or "")


def _runs(folder: Path) -> Iterator[Finding]:
    from dataflare_host import control

    alive = {str(hello["flow"]): hello for hello in control.flows_in(folder)}
    for name, hello in alive.items():
        yield Finding(f"flow {name}", "ok", f"runs as process {hello['pid']} since {hello['started']}")
    for socket in sorted((folder / ".dataflare" / "run").glob("*.sock")):
        if socket.stem not in alive:
            text = "it was killed, and left its socket; the next run takes it over"
            yield Finding(f"flow {socket.stem}", "note", text)


def _state(folder: Path) -> Iterator[Finding]:
    import shutil

    state = folder / ".dataflare"
    place = state if state.exists() else folder
    if not os.access(place, os.W_OK):
        yield Finding("state", "wrong", f"`{place}` cannot be written", "give the user the right to write there")
    free = shutil.disk_usage(place).free
    yield Finding("disk", "wrong" if free < 100 << 20 else "ok", f"{free >> 20:,} MiB are free at {place.absolute()}")
