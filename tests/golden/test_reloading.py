"""Guests of each kind are reloaded where they are: what they have counted goes on, nothing is lost or doubled."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline.reloads import MANIFEST, Running

GOLDEN = Path(__file__).parent / "api-1.0"
KINDS = {"wasm": "go.wasm", "extism": "extism.wasm", "js": "plugin.js"}
SHOP = '''
from pathlib import Path
from dataflare import Idle, source

ENOUGH = Path(__file__).with_name("enough")

@source
def numbers(ctx, position: int = 1000):
    """Numbers, fifty to a batch, until the file `enough` is there."""
    if ctx.fence:
        with ENOUGH.with_name("begun").open("a") as begun:
            begun.write("x")
    while not ENOUGH.exists():
        yield {"n": list(range(position, position + 50))}, position + 50
        position += 50
        yield Idle(after=0.003)
'''
FLOW = """
version: 1
name: reloaded
sources:
  numbers: {uses: ./shop.py/numbers}
steps:
  times: {uses: tagger/times, from: numbers, with: {by: 3}}
  counter: {uses: tagger/counter, from: times}
sinks:
  out: {uses: std/files, from: counter, with: {path: out/, format: jsonl}}
checkpoint: {interval: 60ms}
guarantee: exactly_once
"""


class Compiled:
    """A project with a plugin that was compiled once, in as many versions as are wanted."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.file, self._kind = folder, folder / "flow.yaml", kind
        self.file.write_text(FLOW)
        (folder / "shop.py").write_text(SHOP)

    def add(self, version: str) -> None:
        """Put a version into the set."""
        place = self.folder / "plugins" / version / "dataflare_tagger"
        place.mkdir(parents=True)
        name = KINDS[self._kind]
        (place / name).write_bytes(lzma.decompress((GOLDEN / f"{name}.xz").read_bytes()))
        told = MANIFEST.format(id="tagger", version=version, runtime=self._kind, entry=name)
        (place / "dataflare.toml").write_text(told)
        (self.folder / "plugins.toml").write_text(f'[plugins.tagger]\nfolder = "plugins/{version}/dataflare_tagger"\n')

    def rows(self, out: str = "out") -> list[dict[str, Any]]:
        return [json.loads(line) for file in (self.folder / out).rglob("*.jsonl") for line in file.open()]


@pytest.fixture(params=KINDS)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    project: Any = Compiled(tmp_path, request.param)
    project.add("1.0.0")
    made = Running(project)
    made.until(2)
    yield made
    if made.outcome is None:
        made.end()


def test_a_guest_is_reloaded_in_place(running: Running) -> None:
    for version in ("1.0.1", "1.1.0"):
        running.project.add(version)  # type: ignore[call-arg]
        told = running.reload()
        assert (told["outcome"], told["replayed"]) == ("kept", 0)
        running.until(1)
    assert (running.project.folder / "begun").read_text() == "x"  # the flow around it went on
    rows = sorted(running.end(), key=lambda row: row["n"])
    assert [row["n"] for row in rows] == [3 * (1000 + number) for number in range(len(rows))]
    assert [row["row"] for row in rows] == list(range(len(rows)))
