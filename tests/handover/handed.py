"""A flow with an inline plugin, run by the command line as a process of its own, and reloaded from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.reloads import MANIFEST, rows_below

from dataflare_host import Host

SHOP = '''
from pathlib import Path
from dataflare import Idle, source

ENOUGH = Path(__file__).with_name("enough")

@source
def numbers(position: int = 0, *, most: int = 1_000_000):
    """Numbers, a hundred to a batch, until the file `enough` is there; a key is in two batches or three."""
    while position < most and not ENOUGH.exists():
        end = position + 100
        yield {"n": list(range(position, end)), "k": [n // 150 for n in range(position, end)]}, end
        position = end
        yield Idle(after=0.002)
'''
CODE = '''
import os, signal, time
from dataflare import Batch, Columns, Processor, State, processor, state

@processor(cardinality="one")
def tagged(batch: Batch, ctx, *, by: int = 1) -> Batch:
    """Says which version it is."""
    if len(batch) and ctx.fence:
        {call}
    return batch.with_column("version", {version!r})

class Running(Processor, by="key", version={state}):
    """A running count by key."""
    key: Columns = ("k",)
    seen: State[{kind}] = state(version={state})

    def process(self, batch: Batch) -> Batch:
        counts = {{}}
        keys = batch["k"].to_pylist()
        for key, known in zip(keys, self.seen.get(batch)):
            counts.setdefault(key, {unpack} if known else 0)
        made = []
        for key in keys:
            counts[key] += 1
            made.append(counts[key])
        self.seen.put(batch, [{pack} for n in made])
        return batch.with_column("count", made)

    def migrate_state(self, version, name, value):
        {migrate}
'''
FLOW = """
version: 1
name: handed
sources:
  numbers: {uses: ./shop.py/numbers}
steps:
  tagged: {uses: tagger/tagged, from: numbers}
  running: {uses: tagger/running, from: tagged, with: {key: k}}
sinks:
  out: {uses: std/files, from: running, with: {path: out/, format: jsonl}}
checkpoint: {interval: 60ms}
engine: {uses: pipeline/pipeline, with: {probation: 4s, patience: 1s}}
guarantee: exactly_once
"""


def code(version: str, state: int = 1, call: str = "pass", migrate: str = "") -> str:
    """A version of the plugin; ``call`` is done with each batch in the flow, not in the shadow."""
    plain = state == 1
    return CODE.format(
        version=version,
        state=state,
        call=call,
        kind="int" if plain else "dict[str, int]",
        unpack="known" if plain else 'known["n"]',
        pack="n" if plain else '{"n": n}',
        migrate=migrate or ('return {"n": value}' if not plain else "return value"),
    )


class Project:
    """A folder with a flow and its plugin set; the plugin runs in the flow's own process."""

    def __init__(self, folder: Path, flow: str = FLOW) -> None:
        self.folder = folder
        self.file = folder / "flow.yaml"
        self.file.write_text(flow)
        (folder / "shop.py").write_text(SHOP)
        self._versions = 0
        self.add("1.0.0", code("1.0.0"))

    def add(self, version: str, text: str, isolation: str = "inline") -> None:
        """Put a version of the plugin into the set."""
        self._versions += 1
        place = self.folder / "plugins" / str(self._versions) / "dataflare_tagger"
        place.mkdir(parents=True)
        told = MANIFEST.format(id="tagger", version=version, runtime="python", entry="dataflare_tagger")
        (place / "dataflare.toml").write_text(told)
        (place / "__init__.py").write_text(text)
        member = f'[plugins.tagger]\nfolder = "{place.relative_to(self.folder)}"\nisolation = "{isolation}"\n'
        (self.folder / "plugins.toml").write_text(f"# {self._versions}\n{member}")

    def rows(self, folder: str = "out") -> list[dict[str, Any]]:
        return rows_below(self.folder / folder)


class Launched:
    """``dataflare run``, as whoever launched it sees it."""

    def __init__(self, project: Project, crash: str = "") -> None:
        self.project = project
        command = [sys.executable, "-m", "dataflare_host", "run", "flow.yaml", "--json", "--quiet"]
        environment = {**os.environ, "DATAFLARE_CRASH": crash}
        self.process = subprocess.Popen(
            command,
            cwd=project.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.host = Host.start()

    def ask(self, name: str, **args: Any) -> dict[str, Any]:
        """A command to the flow."""
        with self.host.runner(self.project.file) as line:
            line.patience(120)
            return line.ask(name, args)

    def reload(self, version: str | None = None) -> dict[str, Any]:
        return self.ask("swap", plugin="tagger", version=version)

    def until(self, epochs: int) -> None:
        """Wait for so many epochs with rows."""
        until, first = time.monotonic() + 60, None
        while time.monotonic() < until:
            try:
                told = self.ask("checkpoint")["epochs"]
            except Exception:
                assert self.process.poll() is None, self.process.communicate()
                continue
            epoch = max(told.values())
            first = epoch if first is None else first
            if epoch >= first + epochs:
                return
        raise AssertionError("no epochs came")

    def end(self) -> dict[str, Any]:
        """Let the input end; how the run ended."""
        (self.project.folder / "enough").write_text("")
        return self.ended()

    def ended(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=60)
        assert out, err
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return {**told, "code": self.process.returncode, "stderr": err}

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.host.stop()

    def children(self) -> list[int]:
        """The processes that it has started and that still run."""
        import psutil

        return [each.pid for each in psutil.Process(self.process.pid).children(recursive=True)]
