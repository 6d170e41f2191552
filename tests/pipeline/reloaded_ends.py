"""A project whose source, sink and processor are of one plugin; and its reload while the process dies."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.reloads import Project

from dataflare import DataflareError
from dataflare_host import Host

FLOW = """
version: 1
name: reloaded
sources:
  numbers: {uses: tagger/numbers}
steps:
  tagged: {uses: tagger/tagged, from: numbers}
sinks:
  out: {uses: tagger/shelf, from: tagged}
checkpoint: {interval: 60ms}
guarantee: exactly_once
"""
PLUGIN = '''
import json, time
from pathlib import Path
from dataflare import Batch, Idle, Sink, Source, processor

HERE = Path({here!r})
VERSION = {version!r}


class Numbers(Source[{kind}], version={state}):
    """Numbers, fifty to a batch, until the file `enough` is there. A position says who made it."""

    def read(self, ctx, position: {kind} = {start}):
        at = {unpack}
        {read}
        while not (HERE / "enough").exists():
            yield {{"n": list(range(at, at + 50))}}, {pack}
            at += 50
            yield Idle(after=0.002)

    def migrate_position(self, version, old):
        {migrate}


@processor(cardinality="one")
def tagged(batch: Batch) -> Batch:
    """Says which version it is."""
    return batch.with_column("version", VERSION)


class Shelf(Sink[dict], ability="staged", fencing="names"):
    """A file an epoch, moved to its place by the commit. Says who prepared and who committed it."""

    def begin(self, epoch: int):
        self.lines = []

    def write(self, batch: Batch, ctx):
        {write}
        self.lines += [json.dumps(row) for row in batch.arrow.to_pylist()]

    def prepare(self, epoch: int):
        staged = HERE / "out" / f"{{epoch}}.staged"
        staged.parent.mkdir(exist_ok=True)
        staged.write_text("".join(f"{{line}}\\n" for line in self.lines))
        return {{"by": VERSION, "file": staged.name}}

    def commit(self, epoch: int, tokens: list[dict]):
        for token in tokens:
            staged = HERE / "out" / token["file"]
            if staged.exists():
                with (HERE / "commits").open("a") as file:
                    file.write(json.dumps({{"epoch": epoch, "prepared": token["by"], "committed": VERSION}}) + "\\n")
                staged.rename(staged.with_suffix(".jsonl"))

    def abort(self, epoch: int):
        (HERE / "out" / f"{{epoch}}.staged").unlink(missing_ok=True)
'''


class Ends(Project):
    """The project. A version's ``state`` is that of its positions."""

    def __init__(self, folder: Path, runtime: str = "trial") -> None:
        super().__init__(folder, runtime)
        self.file.write_text(FLOW)

    def put(self, version: str, *words: Any, **more: Any) -> None:
        """Put a version into the set."""
        self.add(version, self.text(version, *words, **more))

    def text(self, version: str, state: int = 1, read: str = "pass", write: str = "pass", migrate: str = "") -> str:
        """The code of a version."""
        plain = state == 1
        return PLUGIN.format(
            here=str(self.folder),
            version=version,
            state=state,
            kind="int" if plain else "dict",
            start="0" if plain else '{"at": 0}',
            unpack="position" if plain else 'position["at"]',
            pack="at + 50" if plain else '{"at": at + 50}',
            read=read,
            write=write,
            migrate=migrate or ('return {"at": old}' if not plain else "return old"),
        )

    def judge(self) -> Counter[str]:
        """Nothing lost, nothing doubled, each epoch committed by who prepared it; how many rows each version made."""
        rows = sorted(self.rows(), key=lambda row: row["n"])
        assert [row["n"] for row in rows] == list(range(len(rows)))
        commits = [json.loads(line) for line in (self.folder / "commits").read_text().splitlines()]
        assert [each for each in commits if each["prepared"] != each["committed"]] == []
        assert len({each["epoch"] for each in commits}) == len(commits)
        return Counter(row["version"] for row in rows)


def reload_and_die(folder: Path, version: str, place: str) -> None:
    """In the process of a run: put a version into its set, ask for it, and die at a place from then on."""
    threading.Thread(target=_disturb, args=(folder, version, place), daemon=True).start()


def _disturb(folder: Path, version: str, place: str) -> None:
    from dataflare import crash

    flow = str(folder / "flow.yaml")
    with Host.start() as host:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(DataflareError):
                if host.command(flow, "checkpoint", {})["epochs"]["numbers"] > 2:
                    break
            time.sleep(0.01)
        (folder / "plugins.toml").write_text((folder / "next.toml").read_text())
        name, _, passes = place.partition(":")
        crash._NAME, crash._left = name, int(passes or 1)
        told: Any = None
        try:
            told = host.command(flow, "swap", {"plugin": "tagger", "version": version})
        except DataflareError as error:
            told = str(error)
        crash._NAME = ""
        (folder / "told").write_text(json.dumps(told))
        os.kill(os.getpid(), 15)
