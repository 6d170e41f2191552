"""A project whose plugin is reloaded while its flow runs."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dataflare_host import Host
from dataflare_host.run import run_plan

LOADER = '''
"""Loads plugins of one Python file as guests in this process, for tests."""
from pathlib import Path
from types import ModuleType
from dataflare.declare import components_in
from dataflare.testing.guests import as_guests
from dataflare_host import Loader


class Trial(Loader, name="trial"):
    """Guests in this process."""

    def components(self, manifest, host):
        module = ModuleType("trial_" + manifest.id + manifest.version.replace(".", "_"))
        file = Path(manifest.file).parent / manifest.entry
        exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
        return list(as_guests(components_in(module), plugin=manifest.id).values())
'''
MANIFEST = """
schema = 1
[plugin]
id = "{id}"
version = "{version}"
[api]
requires = ">=1.0,<2"
[runtime]
kind = "{runtime}"
entry = "{entry}"
"""
SHOP = '''
import time
from pathlib import Path
from dataflare import Idle, source

ENOUGH = Path(__file__).with_name("enough")

@source
def numbers(position: int = 0, *, most: int = 200_000):
    """Numbers, a hundred to a batch, until the file `enough` is there."""
    while position < most and not ENOUGH.exists():
        end = position + 100
        yield {"n": list(range(position, end)), "k": [n % 7 for n in range(position, end)]}, end
        position = end
        yield Idle(after=0.002)
'''
GOOD = '''
from dataflare import Batch, Columns, Processor, State, processor, state

@processor(cardinality="one")
def tagged(batch: Batch, *, by: int = 1) -> Batch:
    """Says which version it is."""
    return batch.with_column("version", {version!r})

class Running(Processor, by="key", version={state}):
    """A running count by key."""
    key: Columns = ("k",)
    seen: State[{kind}] = state(version={state})

    def process(self, batch: Batch) -> Batch:
        keys, counts = batch["k"].to_pylist(), {{}}
        for key, known in zip(keys, self.seen.get(batch)):
            counts.setdefault(key, known{unpack} if known else 0)
        made = []
        for key in keys:
            counts[key] += 1
            made.append(counts[key])
        self.seen.put(batch, [{pack} for n in made])
        return batch.with_column("count", made)

    def migrate_state(self, version, name, value):
        return {migrated}
'''
FLOW = """
version: 1
name: reloaded
sources:
  numbers: {uses: ./shop.py/numbers}
steps:
  tagged: {uses: tagger/tagged, from: numbers}
  running: {uses: tagger/running, from: tagged, with: {key: k}}
sinks:
  out: {uses: std/files, from: running, with: {path: out/, format: jsonl}}
checkpoint: {interval: 60ms}
engine: {uses: pipeline/pipeline, with: {probation: 10s}}
guarantee: exactly_once
"""


def code(version: str, state: int = 1) -> str:
    plain = state == 1
    return GOOD.format(
        version=version,
        state=state,
        kind="int" if plain else "dict[str, int]",
        unpack="" if plain else '["n"]',
        pack="n" if plain else '{"n": n}',
        migrated='{"n": value}' if not plain else "value",
    )


def bad(version: str, how: str) -> str:
    """A version that works in the shadow and not in the flow."""
    made = code(version)
    call = {
        "raises": "raise RuntimeError('defect')",
        "refuses": "return batch.reject([True] * len(batch), 'no', 'never')",
        "swallows": "return batch.slice(0, 0)",
    }.get(how, how)
    first = '    """Says which version it is."""'
    failing = f"{first}\n    if len(batch) and ctx.fence:\n        {call}"
    return made.replace("(batch: Batch, *,", "(batch: Batch, ctx, *,").replace(first, failing)


class Project:
    """A folder with a flow, its plugin set and a loader for it."""

    def __init__(self, folder: Path, runtime: str = "trial") -> None:
        self.folder = folder
        self._runtime = runtime
        self.file = folder / "flow.yaml"
        self.file.write_text(FLOW)
        (folder / "shop.py").write_text(SHOP)
        self._versions = 0
        self._write("trialloader", "1.0.0", "python", "dataflare_trialloader", "__init__.py", LOADER)
        manifest = folder / "plugins" / "1" / "dataflare_trialloader" / "dataflare.toml"
        with manifest.open("a") as more:
            more.write('[components.loader]\ntrial = "dataflare_trialloader:Trial"\n')
        self._members = {"trialloader": 'folder = "plugins/1/dataflare_trialloader"\nisolation = "inline"\n'}

    def add(self, version: str, text: str) -> None:
        """Put a version of the plugin into the set."""
        python = self._runtime == "python"
        entry, file = ("dataflare_tagger", "__init__.py") if python else ("plugin.py", "plugin.py")
        place = self._write("tagger", version, self._runtime, entry, file, text)
        self._members["tagger"] = f'folder = "{place.relative_to(self.folder)}"\n'
        made = "".join(f"[plugins.{id}]\n{told}\n" for id, told in self._members.items())
        (self.folder / "plugins.toml").write_text(f"# {self._versions}\n{made}")

    def judged_by(self, hook: str) -> None:
        """Have a plugin in the set that looks at each plan."""
        place = self._write("judge", "1.0.0", "python", "dataflare_judge", "__init__.py", hook)
        with (place / "dataflare.toml").open("a") as more:
            more.write('[hooks]\nmodule = "dataflare_judge"\nnames = ["check_plan"]\n')
        self._members["judge"] = f'folder = "{place.relative_to(self.folder)}"\nisolation = "inline"\n'

    def _write(self, id: str, version: str, runtime: str, entry: str, name: str, text: str) -> Path:
        self._versions += 1
        place = self.folder / "plugins" / str(self._versions) / f"dataflare_{id}"
        place.mkdir(parents=True)
        told = MANIFEST.format(id=id, version=version, runtime=runtime, entry=entry)
        (place / "dataflare.toml").write_text(told)
        (place / name).write_text(text)
        return place

    def rows(self, out: str = "out") -> list[dict[str, Any]]:
        return rows_below(self.folder / out)


class Running:
    """The flow, running in a thread; commands go through its socket."""

    def __init__(self, project: Project, file: Path | None = None, out: str = "out") -> None:
        self.project, self.file, self._out = project, file or project.file, out
        self.host = Host.start()
        self.outcome: Any = None
        plan = self.host.plan(self.file)
        self._thread = threading.Thread(target=self._run, args=(plan,), daemon=True)
        self._begun = threading.Event()
        self._thread.start()
        assert self._begun.wait(30)
        self.other = Host.start()

    def _run(self, plan: Any) -> None:
        self.outcome = run_plan(plan, self.host, progress=lambda status: self._begun.set())

    def reload(self, version: str | None = None) -> dict[str, Any]:
        args = {"plugin": "tagger", "version": version}
        with self.other.runner(self.file) as line:
            line.patience(120)
            return line.ask("swap", args)

    def until(self, epochs: int) -> None:
        """Wait for so many further epochs."""
        first, deadline = self._epoch(), time.monotonic() + 30
        while self._epoch() < first + epochs and time.monotonic() < deadline:
            self._checkpoint()

    def end(self) -> list[dict[str, Any]]:
        (self.project.folder / "enough").write_text("")
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.host.stop()
        self.other.stop()
        assert self.outcome.status == "finished", self.outcome.problems
        return self.project.rows(self._out)

    def _checkpoint(self) -> None:
        self.other.command(str(self.file), "checkpoint", {})

    def _epoch(self) -> int:
        return int(self.other.command(str(self.file), "status", {})["epoch"])


def rows_below(folder: Path) -> list[dict[str, Any]]:
    """The rows of all files of JSON lines below a folder."""
    files = sorted(folder.rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def judge(rows: list[dict[str, Any]]) -> Counter[str]:
    """Nothing lost, nothing doubled, the state exact; how many rows each version made."""
    rows = sorted(rows, key=lambda row: row["n"])
    assert [row["n"] for row in rows] == list(range(len(rows)))
    counts: Counter[int] = Counter()
    for row in rows:
        counts[row["k"]] += 1
        assert row["count"] == counts[row["k"]]
    return Counter(row["version"] for row in rows)
