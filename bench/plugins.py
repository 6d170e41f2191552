"""W1 with its filter and compute step as plugins: ``python bench/plugins.py [ROUNDS]``.

The same two steps as a Go plugin (WASM, Arrow), a TypeScript plugin (JSON rows), an Extism module (Go, JSON rows) and
a Python plugin in a worker, each built, put into a project's set, and run by the command line; all results must agree
with those of `std/filter` and `std/compute`. Needs Go, Node.js and ``.[bench]``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import data
from digests import json_lines
from measure import Contender, alternate, table
from run import DATAFLARE, HERE, OUT, ROW_COLUMNS

BUILT = OUT / "plugins"
KINDS = {"Go (WASM)": "w1-go", "TypeScript": "w1-js", "Extism (Go)": "w1-extism", "Python worker": "w1-worker"}
FILTER = 'std/filter,  from: readings, with: {where: "temperature > 20"}'
COMPUTE = 'std/compute, from: hot,      with: {columns: {fahrenheit: "temperature * 9 / 5 + 32"}}'
STEPS = {FILTER: "%s/hot, from: readings", COMPUTE: "%s/fahrenheit, from: hot"}


def built(name: str) -> Path:
    """A plugin's wheel, built in a copy of its folder that has the SDKs where it looks for them."""
    folder = BUILT / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "plugins" / name, folder)
    if (folder / "go.mod").exists():
        file = folder / "go.mod"
        file.write_text(file.read_text().replace("../../../sdk-go", str(HERE.parent / "sdk-go")))
    if (folder / "package.json").exists():
        skipped = shutil.ignore_patterns("node_modules", "test")
        shutil.copytree(HERE.parent / "sdk-js", folder / "sdk", ignore=skipped)
    subprocess.run([DATAFLARE, "plugin", "build"], cwd=folder, check=True, stdout=sys.stderr)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def project() -> Path:
    """A folder with a flow for each plugin, and all of them in its set."""
    folder = BUILT / "project"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    flow = (HERE / "flows" / "w1.yaml").read_text()
    for plugin in KINDS.values():
        words = ["plugin", "add", str(built(plugin)), "--project", str(folder), "--grant"]
        subprocess.run([DATAFLARE, *words], check=True, stdout=sys.stderr)
        changed = flow
        for ours, theirs in STEPS.items():
            assert ours in changed
            changed = changed.replace(ours, theirs % plugin)
        (folder / f"{plugin}.yaml").write_text(changed)
    shutil.copy(HERE / "flows" / "w1.yaml", folder / "std.yaml")
    return folder


def contender(name: str, folder: Path, flow: str, source: Path) -> Contender:
    """A flow of the project, run from nothing in a folder of its own."""
    script = f"cp -r {folder}/. . && exec {DATAFLARE} run {flow}.yaml --json"
    environment = {"BENCH_INPUT": str(source), "BENCH_INTERVAL": "1s"}
    return Contender(
        name, ["sh", "-c", script], OUT / f"plugin-{flow}", json_lines("out.jsonl", ROW_COLUMNS), environment
    )


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    source, folder = data.readings(), project()
    contenders = [contender("std", folder, "std", source)]
    contenders += [contender(name, folder, plugin, source) for name, plugin in KINDS.items()]
    print("## W1 with its steps as plugins, whole processes\n")
    print(table(alternate(contenders, rounds), 1_000_000, "std"))


if __name__ == "__main__":
    main()
