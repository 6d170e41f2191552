"""How long `plugin sync --locked` takes for twenty plugins whose wheels are in the cache.

``python bench/locks.py``: an index of twenty plugins in a folder, locked; each time a project with nothing installed,
then again with all of it installed. The whole command in a process of its own; medians and worst of eleven.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

TIMES, SIZE = 11, 200_000
KINDS, THINGS = ("read", "clean", "enrich", "write"), ("weather", "orders", "vessels", "logs", "parcels")
"""Of twenty names, which the index takes for no other's."""


def wheel(folder: Path, id: str) -> Path:
    """The wheel of a plugin without code, with a file of some size."""
    package, info = f"dataflare_{id.replace('-', '_')}", f"dataflare_{id.replace('-', '_')}-1.0.0.dist-info"
    manifest = f'schema = 1\n[plugin]\nid = "{id}"\nversion = "1.0.0"\nsummary = "For a bench."\n'
    manifest += '[api]\nrequires = ">=1.0,<2"\n[runtime]\nkind = "declarative"\n'
    manifest += '[components.processor]\nfew = { uses = "std/filter", with = { where = "n > 1" } }\n'
    files = {
        f"{package}/dataflare.toml": manifest.encode(),
        f"{package}/data.bin": os.urandom(SIZE),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: dataflare-{id}\nVersion: 1.0.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[dataflare.plugins]\n{id} = {package}\n".encode(),
    }
    digests = {
        name: urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode() for name, data in files.items()
    }
    lines = [f"{name},sha256={digests[name]},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*lines, f"{info}/RECORD,,"]) + "\n").encode()
    path = folder / f"{package}-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def run(*words: object, cwd: Path) -> float:
    """Seconds of one command."""
    program = [sys.executable, "-m", "dataflare_host", *map(str, words)]
    began = time.perf_counter()
    subprocess.run(program, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["DATAFLARE_CACHE"] = str(root / "cache")
        index, project = root / "index", root / "project"
        project.mkdir()
        names = [f"{kind}-{thing}" for kind in KINDS for thing in THINGS]
        run("index", "init", index, cwd=root)
        run("index", "add", index, *(wheel(root, name) for name in names), cwd=root)
        root_file = index / "metadata" / "1.root.json"
        run("index", "trust", index, "--root", root_file, "--project", project, cwd=root)
        with (project / "plugins.toml").open("a") as file:
            file.write("".join(f'\n[plugins.{name}]\nversion = ">=1"\n' for name in names))
        run("plugin", "lock", cwd=project)
        run("plugin", "sync", "--locked", cwd=project)
        fresh, again = [], []
        for _ in range(TIMES):
            shutil.rmtree(project / ".dataflare" / "plugins")
            (project / ".dataflare" / "installed.json").unlink()
            fresh.append(run("plugin", "sync", "--locked", cwd=project))
            again.append(run("plugin", "sync", "--locked", cwd=project))
        bare = [run("--version", cwd=root) for _ in range(TIMES)]
    print("| | median s | worst s |\n|---|---|---|")
    for name, times in (
        ("sync --locked, 20 plugins of the cache", fresh),
        ("the same, all of it there", again),
        ("dataflare --version", bare),
    ):
        print(f"| {name} | {statistics.median(times):.3f} | {max(times):.3f} |")


if __name__ == "__main__":
    main()
