"""How long `plugin sync --locked` takes for twenty plugins whose wheels are in the cache.

``python bench/locks.py``: an index of twenty plugins in a folder, locked; each time a project with nothing installed,
then again with all of it installed. Then with twenty plugins in Python, each of which needs a distribution of its own
and so has an environment of its own, which is looked at each time. The whole command in a process of its own; medians
and worst of eleven.
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


def wheel(folder: Path, id: str, python: bool = False) -> Path:
    """The wheel of a plugin with a file of some size: without code, or in Python with something that it needs."""
    package = f"dataflare_{id.replace('-', '_')}"
    manifest = f'schema = 1\n[plugin]\nid = "{id}"\nversion = "1.0.0"\nsummary = "For a bench."\n'
    manifest += '[api]\nrequires = ">=1.0,<2"\n[runtime]\n'
    if python:
        manifest += f'kind = "python"\nentry = "{package}"\n'
    else:
        manifest += 'kind = "declarative"\n[components.processor]\n'
        manifest += 'few = { uses = "std/filter", with = { where = "n > 1" } }\n'
    files = {
        f"{package}/dataflare.toml": manifest.encode(),
        f"{package}/__init__.py": b"",
        f"{package}/data.bin": os.urandom(SIZE),
        f"{package}-1.0.0.dist-info/entry_points.txt": f"[dataflare.plugins]\n{id} = {package}\n".encode(),
    }
    return packed(folder, package, files, f"Requires-Dist: needed_by_{package}\n" if python else "")


def packed(folder: Path, name: str, files: dict[str, bytes], needs: str = "") -> Path:
    """A wheel of these files."""
    info = f"{name}-1.0.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0.0\n{needs}"
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    digests = {
        name: urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode() for name, data in files.items()
    }
    lines = [f"{name},sha256={digests[name]},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*lines, f"{info}/RECORD,,"]) + "\n").encode()
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0.0-py3-none-any.whl"
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


def project_of(root: Path, python: bool) -> Path:
    """A locked project of twenty plugins."""
    index, project = root / "index", root / "project"
    project.mkdir(parents=True)
    names = [f"{kind}-{thing}" for kind in KINDS for thing in THINGS]
    for name in names if python else ():
        needed = f"needed_by_dataflare_{name.replace('-', '_')}"
        packed(root / "others", needed, {f"{needed}.py": b""})
    run("index", "init", index, cwd=root)
    run("index", "add", index, *(wheel(root, name, python) for name in names), cwd=root)
    run("index", "trust", index, "--root", index / "metadata" / "1.root.json", "--project", project, cwd=root)
    with (project / "plugins.toml").open("a") as file:
        file.write("".join(f'\n[plugins.{name}]\nversion = ">=1"\n' for name in names))
    run("plugin", "lock", cwd=project)
    run("plugin", "sync", "--locked", cwd=project)
    return project


def synced(project: Path) -> tuple[list[float], list[float]]:
    """Seconds of syncs with nothing installed, and with all."""
    fresh, again = [], []
    for _ in range(TIMES):
        shutil.rmtree(project / ".dataflare" / "plugins")
        (project / ".dataflare" / "installed.json").unlink()
        fresh.append(run("plugin", "sync", "--locked", cwd=project))
        again.append(run("plugin", "sync", "--locked", cwd=project))
    return fresh, again


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ |= {"DATAFLARE_CACHE": str(root / "cache"), "UV_CACHE_DIR": str(root / "uv"), "UV_OFFLINE": "1"}
        os.environ["UV_FIND_LINKS"] = str(root / "python" / "others")
        fresh, again = synced(project_of(root / "data", python=False))
        python_fresh, python_again = synced(project_of(root / "python", python=True))
        bare = [run("--version", cwd=root) for _ in range(TIMES)]
    print("| | median s | worst s |\n|---|---|---|")
    for name, times in (
        ("sync --locked, 20 plugins of the cache", fresh),
        ("the same, all of it there", again),
        ("20 plugins in Python, environments there", python_fresh),
        ("the same, all of it there", python_again),
        ("dataflare --version", bare),
    ):
        print(f"| {name} | {statistics.median(times):.3f} | {max(times):.3f} |")


if __name__ == "__main__":
    main()
