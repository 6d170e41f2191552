"""How long commands take to start, as a Markdown table: ``python bench/startup.py [RUNS]``.

Run it with the Python of an environment into which DataFlare was installed (not editable: that is never compiled).
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PLUGINS = 50
MANIFEST = """\
schema = 1
[plugin]
id = "made-{number}"
version = "1.0.0"
summary = "A plugin of the benchmark."
[api]
requires = ">=1.0,<2"
[runtime]
kind = "python"
entry = "made_{number}"
[components.source]
numbers = "made_{number}.parts:numbers"
[components.command]
"made.say-{number}" = "made_{number}.parts:say"
"""
FLOW = """\
version: 1
name: three
sources:
  numbers: {uses: std/generate, with: {rows: 3, columns: {n: sequence}}}
steps:
  some: {uses: std/filter, from: numbers, with: {where: "n >= 0"}}
sinks:
  out: {uses: std/files, from: some, with: {path: out.jsonl, format: jsonl}}
"""


def install_plugins(folder: Path) -> None:
    """Fifty plugins as unpacked wheels; none of their code may be imported by what is measured."""
    for number in range(PLUGINS):
        metadata = folder / f"dataflare_made_{number}-1.0.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dataflare-made-{number}\nVersion: 1.0.0\n")
        (metadata / "entry_points.txt").write_text(f"[dataflare.plugins]\nmade-{number} = made_{number}\n")
        package = folder / f"made_{number}"
        package.mkdir()
        (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
        (package / "dataflare.toml").write_text(MANIFEST.format(number=number))
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (time.time() - 3600,) * 2)  # what is younger than two seconds is not remembered


def measure(
    command: Sequence[str], folder: Path, environment: dict[str, str], runs: int
) -> tuple[list[float], list[float]]:
    """Wall and CPU times of a command in milliseconds, each in an empty folder; one run before fills the caches."""
    walls, cpus = [], []
    for _ in range(runs + 1):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "flow.yaml").write_text(FLOW)
        begun, used = time.perf_counter(), _cpu()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        walls.append((time.perf_counter() - begun) * 1000)
        cpus.append((_cpu() - used) * 1000)
    return walls[1:], cpus[1:]


def _cpu() -> float:
    """The CPU seconds of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(runs: int) -> None:
    """Print the table."""
    dataflare = str(Path(sys.executable).with_name("dataflare"))
    with tempfile.TemporaryDirectory() as made:
        site = Path(made, "site")
        install_plugins(site)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPATH": str(site), "DATAFLARE_CACHE": str(Path(made, "cache"))}
        print(f"| command ({PLUGINS} plugins more than ours) | min ms | median ms | min CPU ms |\n|---|---|---|---|")
        for name, command in {
            "`python -c pass`": (sys.executable, "-c", "pass"),
            "`dataflare --help`": (dataflare, "--help"),
            "`dataflare plugin list`": (dataflare, "plugin", "list"),
            "`dataflare validate` of that flow": (dataflare, "validate", "flow.yaml"),
            "`dataflare run` of three rows: generate → filter → files": (dataflare, "run", "flow.yaml"),
        }.items():
            walls, cpus = measure(command, Path(made, "work"), environment, runs)
            print(f"| {name} | {min(walls):.0f} | {statistics.median(walls):.0f} | {min(cpus):.0f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
