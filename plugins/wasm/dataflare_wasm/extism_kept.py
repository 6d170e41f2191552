"""What Extism keeps of compiled modules: in a folder of ours, sealed; a file that is not as it was written goes."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataflare_wasm.sealed import SealedFolder, digest_of, usual_folder

CONFIG = "EXTISM_CACHE_CONFIG"
"""The environment variable by which Extism finds its cache."""
_TURN = threading.RLock()
_log = logging.getLogger("dataflare.wasm")


@contextmanager
def kept(folder: Path | None = None) -> Iterator[None]:
    """In here Extism finds what it compiled in this folder (None: the user's), and nothing that others put there.

    One thread at a time: Extism is told by the environment.
    """
    with _TURN:
        found: SealedFolder | None = None
        config, before = "", os.environ.get(CONFIG)
        try:
            found = SealedFolder(folder or usual_folder() / "extism")
            _sweep(found)
            config = str(found.path / "wasmtime.toml")
            text = f"[cache]\ndirectory = {json.dumps(str(found.path))}\n"
            found.write(Path(config), text.encode())
        except OSError as error:
            found = None
            _log.warning("modules that Extism compiles are not kept: %s", error)
        os.environ[CONFIG] = config
        try:
            yield
        finally:
            if before is None:
                del os.environ[CONFIG]
            else:
                os.environ[CONFIG] = before
            if found is not None:
                _seal(found)


def _sweep(folder: SealedFolder) -> None:
    """Remove what was not sealed here."""
    try:
        told = json.loads((folder.path / "seal").read_bytes())
        files = told["files"] if folder.holds(told["sealed"], json.dumps(told["files"])) else {}
    except (OSError, ValueError, KeyError, TypeError):
        files = {}
    for name, file in _files(folder):
        if files.get(name) != digest_of(file):
            _log.warning("what Extism compiled is made again: %s is not what was written", file.name)
            file.unlink()


def _seal(folder: SealedFolder) -> None:
    files = {name: digest_of(file) for name, file in _files(folder)}
    told = {"files": files, "sealed": folder.seal(json.dumps(files))}
    folder.write(folder.path / "seal", json.dumps(told).encode())


def _files(folder: SealedFolder) -> list[tuple[str, Path]]:
    """What Extism compiled; beside it are counts of uses, which change at any time."""
    found = (path for path in sorted((folder.path / "modules").rglob("*")) if path.is_file())
    return [(str(path.relative_to(folder.path)), path) for path in found if path.suffix != ".stats"]
