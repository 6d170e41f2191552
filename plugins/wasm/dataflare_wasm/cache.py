"""Compiled modules, kept by the host: native code that nobody else may have touched.

A module whose seal does not fit (damaged, exchanged, written by somebody else) is compiled again, never loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare_wasm.sealed import SealedFolder, digest_of, usual_folder

if TYPE_CHECKING:
    import wasmtime

    from dataflare_wasm.engine import Engine

KEPT = 4 << 30
"""Bytes that the cache may have; those used longest ago go first."""
_log = logging.getLogger("dataflare.wasm")


class Cache:
    """A folder of compiled modules (None: the user's)."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or usual_folder()

    def module(self, engine: Engine, digest: str, content: Callable[[], bytes]) -> wasmtime.Module:
        """The compiled module of WASM with this SHA-256. Raises ConfigError ``plugin.wasm_invalid``."""
        try:
            folder = SealedFolder(self._folder)
        except OSError as error:
            _log.warning("compiled WASM modules are not kept: %s", error)
            return engine.compile(content())
        code = self._folder / f"{digest[:40]}-{_made_for(engine)}.cwasm"
        found = _load(engine, code, folder)
        if found is not None:
            return found
        module = engine.compile(content())
        try:
            _keep(code, bytes(module.serialize()), folder)
        except OSError as error:
            _log.warning("a compiled WASM module was not kept: %s", error)
            return module
        # From the file, so that its code is not held in memory twice, nor by each process of its own.
        return _load(engine, code, folder) or module


def _load(engine: Engine, code: Path, folder: SealedFolder) -> wasmtime.Module | None:
    import wasmtime

    try:
        if not _is_ours(code, folder):
            return None
        os.utime(_seal(code))
        return wasmtime.Module.deserialize_file(engine.wasmtime, str(code))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, wasmtime.WasmtimeError) as error:
        _log.warning("the compiled module %s is made again: %s", code.name, error)
        return None


def _keep(code: Path, native: bytes, folder: SealedFolder) -> None:
    _make_room(folder.path, len(native))
    folder.write(code, native)
    _write_seal(code, hashlib.sha256(native).hexdigest(), folder)


def _make_room(folder: Path, size: int) -> None:
    seals = sorted(folder.glob("*.seal"), key=lambda path: path.stat().st_mtime)
    codes = [seal.with_suffix("") for seal in seals]
    sizes = [code.stat().st_size if code.exists() else 0 for code in codes]
    total = sum(sizes) + size
    for seal, code, own in zip(seals, codes, sizes, strict=True):
        if total <= KEPT:
            return
        seal.unlink(missing_ok=True)
        code.unlink(missing_ok=True)
        total -= own


def _is_ours(code: Path, folder: SealedFolder) -> bool:
    """Is this what was written here? Without reading it all, where the file system says that nothing wrote to it."""
    told: dict[str, Any] = json.loads(_seal(code).read_bytes())
    digest, stamp = str(told.get("digest")), _stamp(code)
    if not folder.holds(told.get("sealed"), code.name, digest):
        raise ValueError("its seal was not made here")
    if folder.holds(told.get("stamped"), code.name, digest, stamp):
        return True
    if digest_of(code) != digest:
        raise ValueError("it is not what was written")
    _write_seal(code, digest, folder)
    return True


def _write_seal(code: Path, digest: str, folder: SealedFolder) -> None:
    sealed, stamped = folder.seal(code.name, digest), folder.seal(code.name, digest, _stamp(code))
    folder.write(_seal(code), json.dumps({"digest": digest, "sealed": sealed, "stamped": stamped}).encode())


def _stamp(code: Path) -> str:
    """What changes with every write: nobody can set the time of a file's last change but by making one."""
    found = code.stat()
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def _seal(code: Path) -> Path:
    return code.with_name(f"{code.name}.seal")


def _made_for(engine: Engine) -> str:
    """What compiled code depends on, beside the module."""
    told = f"wasmtime {_wasmtime()} {platform.machine()} {platform.system()} {engine.settings.key}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


@cache
def _wasmtime() -> str:
    from importlib.metadata import version

    return version("wasmtime")
