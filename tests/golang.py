"""WASM modules from Go for tests: built once for what their sources are, into a cache outside the tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SDK = Path(__file__).resolve().parents[1] / "sdk-go"


@cache
def module(folder: Path, package: str = ".", *, tags: str = "", sdk: bool = True) -> Path:
    """The module of a package below ``folder``, which has a ``go.mod``; ``sdk``: it is made with the SDK for Go."""
    digest = hashlib.sha256(subprocess.run(["go", "version"], capture_output=True, check=True).stdout)
    for root in (SDK, folder) if sdk else (folder,):
        for file in sorted(path for path in root.rglob("*") if path.suffix in (".go", ".mod")):
            digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    digest.update(f"{package} {tags}".encode())
    made = _cache() / f"{digest.hexdigest()[:16]}.wasm"
    if not made.exists():
        _build(folder, package, tags, made)
    return made


def _build(folder: Path, package: str, tags: str, made: Path) -> None:
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as aside:
        words = ["go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", f"-tags={tags}"]
        given = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
        done = subprocess.run(
            [*words, "-o", f"{aside}/plugin.wasm", package],
            cwd=folder,
            env=given,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        Path(aside, "plugin.wasm").replace(made)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dataflare-tests" / "go"
