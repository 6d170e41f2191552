"""Reloads of a plugin under load: what stands still, and whether a row is lost or doubled.

``python bench/reload.py [--inline] [--reloads N] [--keys N] [--rate N]``. The plugin runs in a worker, or in the flow's
own process (``--inline``), so that each reload hands the flow to a new one. One version in five is bad: it dies, hangs,
cannot migrate its state, refuses everything or gives nothing. Afterwards the same rows go through an undisturbed run,
and both outputs must be equal by content. Told: rows a second, the pause that the answers tell, the longest gap between
two batches behind the reloaded steps from the question to the answer, by outcome, and (``before``) in a second before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from dataflare import ConfigError, DataflareError
from dataflare_host import Host
from dataflare_host.run import run_plan

SHOP = '''
import time
from pathlib import Path
import pyarrow as pa
import pyarrow.compute as pc
from dataflare import Batch, processor, source

HERE = Path(__file__).parent
TIMES = (HERE / "times").open("a", buffering=1)
SIZE = 8_192
FIRST = pa.array(range(SIZE))

@source
def numbers(position: int = 0, *, most: int = 10**12, keys: int = 0, rate: int = 0):
    """Numbers, so many a second; the first ones have a key each, the others share some a batch."""
    due = time.monotonic()
    while position < most and not (HERE / "enough").exists():
        n = pc.add(FIRST, position)
        k = n if position < keys else pc.divide(n, 656)
        yield {"n": n, "k": pc.bit_wise_and(k, (1 << 20) - 1 if position < keys else 0x3FFF)}, position + SIZE
        position += SIZE
        if rate and position >= keys:
            due = max(due + SIZE / rate, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))

@processor
def clock(batch: Batch) -> Batch:
    """Notes when a batch passes."""
    TIMES.write(f"{time.monotonic()}\\n")
    return batch
'''
PLUGIN = '''
import os, time
import pyarrow as pa
from dataflare import Batch, Columns, Processor, State, processor, state

@processor(cardinality="one")
def tagged(batch: Batch, ctx) -> Batch:
    """Passes rows on."""
    if len(batch) and ctx.fence:
        {call}
    return batch

class Running(Processor, by="key", version={state}):
    """Rows by key so far; for each batch a row that all of it went into."""
    key: Columns = ("k",)
    seen: State[int] = state(version={state})

    def process(self, batch: Batch) -> Batch:
        made = pa.table(batch.arrow).group_by("k", use_threads=False).aggregate([("n", "count"), ("n", "sum")])
        keys = Batch(made.select(["k"]).combine_chunks().to_batches()[0])
        known = [value or 0 for value in self.seen.get(keys)]
        totals = [a + b for a, b in zip(known, made["n_count"].to_pylist())]
        self.seen.put(keys, totals)
        sums = sum(made["n_sum"].to_pylist())
        return Batch(pa.record_batch({{"keys": [len(totals)], "totals": [sum(totals)], "sum": [sums]}}))

    def migrate_state(self, version, name, value):
        {migrate}
'''
BAD = {
    "dies": "os.kill(os.getpid(), 9)",
    "hangs": "time.sleep(3600)",
    "refuses": "return batch.reject([True] * len(batch), 'no', 'never')",
    "swallows": "return batch.slice(0, 0)",
    "cannot migrate": "pass",
}
MANIFEST = """
schema = 1
[plugin]
id = "tagger"
version = "{version}"
[api]
requires = ">=1.0,<2"
[runtime]
kind = "python"
entry = "dataflare_tagger"
"""
FLOW = """
version: 1
name: reloaded
sources:
  numbers: {{uses: ./shop.py/numbers, lanes: 1, with: {{most: {most}, keys: {keys}, rate: {rate}}}}}
steps:
  tagged: {{uses: tagger/tagged, from: numbers}}
  running: {{uses: tagger/running, from: tagged, with: {{key: k}}}}
  clock: {{uses: ./shop.py/clock, from: running}}
sinks:
  out: {{uses: std/files, from: clock, with: {{path: out/, format: jsonl}}}}
checkpoint: {{interval: 250ms}}
engine: {{uses: pipeline/pipeline, with: {{probation: 20s, patience: 2s}}}}
guarantee: exactly_once
"""


class Project:
    """A folder with a flow of one source, one plugin and one sink."""

    def __init__(self, folder: Path, most: int, keys: int, rate: int, inline: bool) -> None:
        self.inline = inline
        self.folder, self.file = folder, folder / "flow.yaml"
        folder.mkdir()
        self.file.write_text(FLOW.format(most=most, keys=keys, rate=rate))
        (folder / "shop.py").write_text(SHOP)

    def add(self, version: str, state: int, how: str | None = None) -> None:
        """Put a version into the set."""
        place = self.folder / "plugins" / version / "dataflare_tagger"
        place.mkdir(parents=True)
        (place / "dataflare.toml").write_text(MANIFEST.format(version=version))
        migrate = "raise ValueError('cannot')" if how == "cannot migrate" else "return value"
        code = PLUGIN.format(call=BAD.get(how or "", "pass"), state=state, migrate=migrate)
        (place / "__init__.py").write_text(code)
        told = f'[plugins.tagger]\nfolder = "plugins/{version}/dataflare_tagger"\n'
        told += 'isolation = "inline"\n' if self.inline else ""
        (self.folder / "plugins.toml").write_text(f"# {version}\n{told}")

    def rows(self) -> list[str]:
        """The lines of the output, sorted."""
        return sorted(line for part in (self.folder / "out").rglob("*.jsonl") for line in part.open())

    def gap(self, began: float, ended: float) -> float:
        """The longest time between two batches, in milliseconds."""
        times = [float(line) for line in (self.folder / "times").read_text().split("\n")[:-1]]
        inside = [began, *(each for each in times if began <= each <= ended), ended]
        return 1000 * max(b - a for a, b in pairwise(inside))


def status(host: Host, project: Project) -> dict[str, Any]:
    """What the running flow tells of itself."""
    return host.command(str(project.file), "status", {})


def disturbed(project: Project, reloads: int, keys: int) -> tuple[int, list[dict[str, Any]]]:
    """Run with reloads; how many rows were read, and what the reloads answered."""
    host, ended = Host.start(), []
    plan = host.plan(project.file)
    thread = threading.Thread(target=lambda: ended.append(run_plan(plan, host)), daemon=True)
    thread.start()
    other, told, state = Host.start(), [], 1
    while True:
        assert not ended, ended[0].problems
        try:
            if status(other, project)["steps"]["running"]["in"] > max(keys, 1_000_000):
                break
        except ConfigError:  # it is still starting
            pass
        time.sleep(0.1)
    begun, first = time.monotonic(), status(other, project)["steps"]["running"]["in"]
    for number in range(1, reloads + 1):
        how = list(BAD)[number // 5 % len(BAD)] if number % 5 == 0 else None
        state += number % 25 == 1 and number > 1
        project.add(f"1.{number}.0", state + (how == "cannot migrate"), how)
        time.sleep(1.0)
        began = time.monotonic()
        try:
            with other.runner(project.file) as line:
                line.patience(120)
                answer = line.ask("swap", {"plugin": "tagger", "version": None})
        except DataflareError as error:
            answer = {"outcome": "refused", "pause_ms": 0.0, "replayed": 0, "problem": str(error).split("\n")[0]}
        time.sleep(0.3)
        now = time.monotonic()
        before = project.gap(began - 1.0, began)
        told.append({**answer, "how": how, "gap": project.gap(began, now), "before": before, "seconds": now - began})
    rate = (status(other, project)["steps"]["running"]["in"] - first) / (time.monotonic() - begun)
    print(f"{rate:,.0f} rows/s through the reloaded steps, over everything")
    (project.folder / "enough").write_text("")
    thread.join(120)
    assert ended[0].status == "finished", ended[0].problems
    return ended[0].read, told


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inline", action="store_true", help="The plugin runs in the flow's own process.")
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--keys", type=int, default=0, help="Keys that the state has before the first reload.")
    parser.add_argument("--rate", type=int, default=500_000, help="Rows a second; 0: as fast as it can.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        project = Project(Path(made) / "disturbed", 10**12, given.keys, given.rate, given.inline)
        project.add("1.0.0", 1)
        read, told = disturbed(project, given.reloads, given.keys)
        for outcome in ("kept", "rolled_back", "refused"):
            found = [each for each in told if each["outcome"] == outcome]
            for word, unit in (("pause_ms", "pause"), ("gap", "gap"), ("before", "before")):
                if found:
                    values = sorted(each[word] for each in found)
                    p95 = values[int(0.95 * (len(values) - 1))]
                    print(
                        f"{outcome:<12}{len(found):>4}  {unit:<6} median {statistics.median(values):>9.1f} ms"
                        f"  p95 {p95:>9.1f}  worst {values[-1]:>9.1f}"
                    )
        wrong = [each for each in told if (each["outcome"] == "kept") != (each["how"] is None)]
        print(f"outcomes that are not as they must be: {len(wrong)} {json.dumps(wrong) if wrong else ''}")
        calm = Project(Path(made) / "calm", read, given.keys, 0, given.inline)
        calm.add("1.0.0", 1)
        with Host.start() as host:
            assert run_plan(host.plan(calm.file), host).status == "finished"
        same = project.rows() == calm.rows()
        print(f"{read:,} rows read; the output is {'equal to' if same else 'ANOTHER THAN'} that of an undisturbed run")
        raise SystemExit(0 if same and not wrong else 1)


if __name__ == "__main__":
    main()
