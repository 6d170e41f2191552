"""What Extism keeps of compiled modules: in a folder of ours, sealed; a file that is not as it was written goes."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    for name, digest in _digests(folder).items():
        if files.get(name) != digest:
            _log.warning("what Extism compiled is made again: %s is not what was written", name)
            (folder.path / name).unlink(missing_ok=True)


def _seal(folder: SealedFolder) -> None:
    files = _digests(folder)
    told = {"files": files, "sealed": folder.seal(json.dumps(files))}
    folder.write(folder.path / "seal", json.dumps(told).encode())


def _digests(folder: SealedFolder) -> dict[str, str]:
    """What Extism compiled, each with its digest; counts of uses and what is being written change at any time."""
    found = {}
    for path in sorted((folder.path / "modules").rglob("*")):
        if path.is_file() and path.suffix != ".stats" and not path.suffix.startswith(".wip-"):
            with suppress(FileNotFoundError):  # another process has just taken it away
                found[str(path.relative_to(folder.path))] = digest_of(path)
    return found
