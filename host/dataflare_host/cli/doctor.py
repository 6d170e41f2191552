"""``dataflare doctor``: what could go wrong on this machine, each finding with what to do about it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import click

from dataflare_host.cli.errors import FAILED
from dataflare_host.cli.output import emit, json_option
from dataflare_host.cli.process import the_host

Level = Literal["ok", "note", "wrong"]
COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}
LIBRARIES = ("pyarrow", "polars", "duckdb", "pydantic", "click", "pluggy")


class Finding(NamedTuple):
    """One thing looked at."""

    subject: str
    level: Level
    text: str
    fix: str = ""


@click.command(name="doctor")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".")
@json_option
def doctor(folder: Path, as_json: bool) -> int:
    """Look at Python, libraries, plugins, and the runs and state in FOLDER. Exit code 1 if something is wrong."""
    looks: tuple[Callable[[], Iterable[Finding]], ...] = (
        _python,
        _libraries,
        _plugins,
        lambda: _runs(folder),
        lambda: _state(folder),
    )
    findings = [finding for look in looks for finding in look()]
    wrong = any(finding.level == "wrong" for finding in findings)
    if as_json:
        emit({"ok": not wrong, "findings": [finding._asdict() for finding in findings]})
    else:
        for finding in findings:
            level = click.style(finding.level.ljust(5), fg=COLOURS[finding.level])
            click.echo(f"{level}  {finding.subject}: {finding.text}")
            if finding.fix:
                click.echo(f"       {finding.fix}")
    return FAILED if wrong else 0


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


def _plugins() -> Iterator[Finding]:
    plugins = the_host().table().plugins.values()
    yield Finding("plugins", "ok", ", ".join(f"{each.id} {each.version}" for each in plugins) or "none")
    for problem in the_host().doctor():
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
