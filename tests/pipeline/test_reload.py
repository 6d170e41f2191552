"""A new version of a plugin takes over in a running flow; what does not prove itself is taken back: no row is lost."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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

    def _write(self, id: str, version: str, runtime: str, entry: str, name: str, text: str) -> Path:
        self._versions += 1
        place = self.folder / "plugins" / str(self._versions) / f"dataflare_{id}"
        place.mkdir(parents=True)
        told = MANIFEST.format(id=id, version=version, runtime=runtime, entry=entry)
        (place / "dataflare.toml").write_text(told)
        (place / name).write_text(text)
        return place

    def rows(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for part in sorted((self.folder / "out").rglob("*.jsonl"))
            for line in part.read_text().splitlines()
        ]


class Running:
    """The flow, running in a thread; commands go through its socket."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.host = Host.start()
        self.outcome: Any = None
        plan = self.host.plan(project.file)
        self._thread = threading.Thread(target=self._run, args=(plan,), daemon=True)
        self._begun = threading.Event()
        self._thread.start()
        assert self._begun.wait(30)
        self.other = Host.start()

    def _run(self, plan: Any) -> None:
        self.outcome = run_plan(plan, self.host, progress=lambda status: self._begun.set())

    def reload(self, version: str | None = None) -> dict[str, Any]:
        args = {"plugin": "tagger", "version": version}
        return self.other.command(str(self.project.file), "swap", args)

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
        return self.project.rows()

    def _checkpoint(self) -> None:
        self.other.command(str(self.project.file), "checkpoint", {})

    def _epoch(self) -> int:
        return int(self.other.command(str(self.project.file), "status", {})["epoch"])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.add("1.0.0", code("1.0.0"))
    return made


@pytest.fixture
def running(project: Project) -> Iterator[Running]:
    made = Running(project)
    made.until(2)
    yield made
    if made.outcome is None:
        made.end()


def judge(rows: list[dict[str, Any]]) -> Counter[str]:
    """Nothing lost, nothing doubled, the state exact; how many rows each version made."""
    rows = sorted(rows, key=lambda row: row["n"])
    assert [row["n"] for row in rows] == list(range(len(rows)))
    counts: Counter[int] = Counter()
    for row in rows:
        counts[row["k"]] += 1
        assert row["count"] == counts[row["k"]]
    return Counter(row["version"] for row in rows)


def test_a_new_version_takes_over_at_a_barrier(project: Project, running: Running) -> None:
    project.add("1.1.0", code("1.1.0"))
    told = running.reload("1.1.0")
    assert (told["outcome"], told["replayed"]) == ("kept", 0)
    assert told["pause_ms"] > 0
    running.until(2)
    made = judge(running.end())
    assert set(made) == {"1.0.0", "1.1.0"}


def test_state_of_an_older_version_is_migrated(project: Project, running: Running) -> None:
    project.add("2.0.0", code("2.0.0", state=2))
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    assert set(judge(running.end())) == {"1.0.0", "2.0.0"}


@pytest.mark.parametrize("how", ["raises", "refuses", "swallows"])
def test_a_version_that_fails_in_the_flow_is_taken_back(
    project: Project, running: Running, caplog: Any, how: str
) -> None:
    project.add("1.1.0", bad("1.1.0", how))
    told = running.reload()
    assert told["outcome"] == "rolled_back"
    assert told["problem"]["message"]
    assert "does not add up" not in caplog.text
    running.until(2)
    assert set(judge(running.end())) == {"1.0.0"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def broken(:\n", "invalid syntax"),
        (code("1.1.0").replace("def process(self, batch: Batch)", "def process(self, batch: Batch, x)"), "`x`"),
        (code("1.1.0").replace('"version"', '"n"'), "other types"),
        (code("1.1.0", state=2).replace('return {"n": value}', "raise ValueError('cannot')"), "cannot"),
        (code("1.1.0").replace("made = []", "raise RuntimeError('shadow')"), "shadow"),
    ],
)
def test_a_version_that_cannot_work_is_refused_before_anything_stops(
    project: Project, running: Running, text: str, what: str
) -> None:
    project.add("1.1.0", text)
    with pytest.raises(Exception, match=what):
        running.reload()
    running.until(1)
    assert set(judge(running.end())) == {"1.0.0"}


def test_nothing_new_another_version_and_strangers_are_refused(project: Project, running: Running) -> None:
    with pytest.raises(Exception, match="as the set has it"):
        running.reload()
    project.add("1.1.0", code("1.1.0"))
    with pytest.raises(Exception, match=r"not 3\.0\.0"):
        running.reload("3.0.0")
    with pytest.raises(Exception, match="no step"):
        running.other.command(str(project.file), "swap", {"plugin": "std2"})
    with pytest.raises(Exception, match="as it is here"):
        running.other.command(str(project.file), "swap", {"plugin": "std"})


def test_many_reloads_good_and_bad(project: Project, running: Running) -> None:
    """By content over versions that work and versions that do not, one after the other."""
    outcomes = []
    for number in range(1, 13):
        version = f"1.{number}.0"
        faulty = number % 4 == 0
        project.add(version, bad(version, "raises") if faulty else code(version))
        outcomes.append((running.reload()["outcome"], faulty))
    assert all(outcome == ("rolled_back" if faulty else "kept") for outcome, faulty in outcomes)
    made = judge(running.end())
    assert len(made) >= 9
    assert not {f"1.{number}.0" for number in (4, 8, 12)} & set(made)


TWO = """
version: 1
name: reloaded
sources:
  a: {uses: ./shop.py/numbers}
  b: {uses: ./shop.py/numbers}
steps:
  first: {uses: tagger/tagged, from: a}
  second: {uses: tagger/tagged, from: b, with: {by: 2}}
sinks:
  out-a: {uses: std/files, from: first, with: {path: out/a/, format: jsonl}}
  out-b: {uses: std/files, from: second, with: {path: out/b/, format: jsonl}}
checkpoint: {interval: 60ms}
guarantee: exactly_once
"""


def test_regions_take_a_version_all_or_none(project: Project) -> None:
    project.file.write_text(TWO)
    running = Running(project)
    running.until(2)
    project.add("1.1.0", bad("1.1.0", "if by == 2: raise RuntimeError('defect')"))
    told = running.reload()
    assert told["outcome"] == "rolled_back", told
    project.add("1.2.0", code("1.2.0"))
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    running.end()
    for part in ("a", "b"):
        rows = [json.loads(line) for file in (project.folder / "out" / part).rglob("*.jsonl") for line in file.open()]
        assert sorted(row["n"] for row in rows) == list(range(len(rows)))
        assert {row["version"] for row in rows} == {"1.0.0", "1.2.0"}


def test_state_that_is_migrated_is_taken_back_too(project: Project, running: Running) -> None:
    """What was migrated and changed on trial is as it was; the next version finds it so."""
    failing = code("2.0.0", state=2).replace(
        "made = []", "made = []\n        if ctx.fence: raise RuntimeError('defect')"
    )
    project.add("2.0.0", failing.replace("(self, batch: Batch)", "(self, batch: Batch, ctx)"))
    assert running.reload()["outcome"] == "rolled_back"
    running.until(1)
    project.add("2.1.0", code("2.1.0", state=2))
    assert running.reload()["outcome"] == "kept"
    running.until(2)
    assert set(judge(running.end())) == {"1.0.0", "2.1.0"}


WORKER_FLOW = FLOW.replace("guarantee:", "engine: {uses: pipeline/pipeline, with: {probation: 3s}}\nguarantee:")


@pytest.mark.parametrize("how", ["time.sleep(3600)", "os.kill(os.getpid(), 9)"])
def test_a_worker_that_hangs_or_dies_is_taken_back(tmp_path: Path, how: str) -> None:
    made = Project(tmp_path, runtime="python")
    made.file.write_text(WORKER_FLOW)
    made.add("1.0.0", code("1.0.0"))
    running = Running(made)
    running.until(2)
    made.add("1.1.0", f"import os, time\n{bad('1.1.0', how)}")
    told = running.reload()
    assert told["outcome"] == "rolled_back", told
    running.until(1)
    made.add("1.2.0", code("1.2.0"))
    assert running.reload()["outcome"] == "kept"
    running.until(1)
    assert set(judge(running.end())) == {"1.0.0", "1.2.0"}
