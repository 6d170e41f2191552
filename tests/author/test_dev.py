"""``plugin dev``: a change of the code reaches a flow that runs, which loses and doubles nothing."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dataflare_author.names import new_names
from dataflare_author.scaffold import scaffold

NUMBERS = '''
from dataflare import source

@source
def people(position: int = 0):
    """People without end."""
    while True:
        yield [{"id": position, "email": f" P{position}@Example.org"}], position + 1
        position += 1
'''
FLOW = """\
version: 1
name: people
sources:
  people: {uses: ./people.py/people}
steps:
  tidy: {uses: acme-thing, from: people}
sinks:
  out: {uses: std/files, from: tidy, with: {path: out.jsonl}}
checkpoint: {interval: 50ms}
"""


class Commands:
    """Command lines that run at the same time; their lines on stdout are JSON."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dataflare_host", *map(str, words), "--json"]
        made = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.started.append(made)
        return made


@pytest.fixture
def commands() -> Iterator[Commands]:
    made = Commands()
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def following(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line that a process says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr and process.stderr.read()
    told: dict[str, Any] = json.loads(line)
    return told


def rows(project: Path) -> list[dict[str, Any]]:
    file = project / "out.jsonl"
    whole = file.read_text().rpartition("\n")[0] if file.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def until(project: Path, process: subprocess.Popen[str], domain: str) -> None:
    """Until a row of this domain is written, or the flow has ended."""
    while process.poll() is None:
        if any(row["domain"] == domain for row in rows(project)[-1:]):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    raise AssertionError(process.communicate())


def test_a_change_reaches_a_running_flow(tmp_path: Path, commands: Commands) -> None:
    folder = scaffold(new_names("acme-thing"), "go", "processor", tmp_path).folder
    project = tmp_path / "project"
    project.mkdir()
    (project / "people.py").write_text(NUMBERS)
    (project / "flow.yaml").write_text(FLOW)
    dev = commands.start("plugin", "dev", folder, "--project", project)
    first = following(dev)
    assert (first["ok"], first["flows"]) == (True, {})
    flow = commands.start("run", project / "flow.yaml")
    until(project, flow, "example.org")

    code = folder / "contacts.go"
    good = code.read_text()
    code.write_text(good + "\nthis is wrong\n")
    broken = following(dev)
    assert (broken["ok"], broken["problems"][0]["code"]) == (False, "author.build")
    code.write_text(good.replace("Domain: parts[1]", 'Domain: "v2." + parts[1]'))
    assert following(dev)["flows"] == {"people": "kept"}
    until(project, flow, "v2.example.org")

    dev.send_signal(signal.SIGINT)
    assert dev.wait(60) == 0
    flow.send_signal(signal.SIGTERM)
    out, err = flow.communicate(timeout=60)
    assert flow.returncode == 0, err
    written = rows(project)
    assert [row["id"] for row in written] == list(range(len(written)))
    assert list(dict.fromkeys(row["domain"] for row in written)) == ["example.org", "v2.example.org"]
    assert json.loads(out.splitlines()[-1])["rows"]["written"] == len(written)


def test_what_was_not_granted_ends_it(tmp_path: Path, commands: Commands) -> None:
    folder = scaffold(new_names("acme-thing"), "python", "sink", tmp_path).folder
    dev = commands.start("plugin", "dev", folder, "--project", tmp_path)
    assert following(dev)["added"]["granted"] is False
    assert dev.wait(60) == 1
    assert not (tmp_path / "plugins.toml").exists()
