"""Compiled modules, kept by the host: native code that nobody else may have touched.

Each is sealed with a key that only this user can read. A module whose seal does not fit (damaged, exchanged, written by
somebody else) is compiled again, never loaded.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import platform
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wasmtime

    from dataflare_wasm.engine import Engine

KEPT = 4 << 30
"""Bytes that the cache may have; those used longest ago go first."""
_log = logging.getLogger("dataflare.wasm")


class Cache:
    """A folder of compiled modules (None: ``$DATAFLARE_CACHE/wasm``, else in the user's cache folder)."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or _usual()

    def module(self, engine: Engine, digest: str, content: bytes) -> wasmtime.Module:
        """The compiled module of WASM with this SHA-256. Raises ConfigError ``plugin.wasm_invalid``."""
        try:
            key = self._key()
        except OSError as error:
            _log.warning("compiled WASM modules are not kept: %s", error)
            return engine.compile(content)
        code = self._folder / f"{digest[:40]}-{_made_for(engine)}.cwasm"
        found = self._load(engine, code, key)
        if found is not None:
            return found
        module = engine.compile(content)
        try:
            self._keep(code, bytes(module.serialize()), key)
        except OSError as error:
            _log.warning("a compiled WASM module was not kept: %s", error)
            return module
        # From the file, so that its code is not held in memory twice, nor by each process of its own.
        return self._load(engine, code, key) or module

    def _load(self, engine: Engine, code: Path, key: bytes) -> wasmtime.Module | None:
        import wasmtime

        try:
            if not _sealed(code, key):
                return None
            os.utime(_seal(code))
            return wasmtime.Module.deserialize_file(engine.wasmtime, str(code))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, wasmtime.WasmtimeError) as error:
            _log.warning("the compiled module %s is made again: %s", code.name, error)
            return None

    def _keep(self, code: Path, native: bytes, key: bytes) -> None:
        self._make_room(len(native))
        _replace(code, native)
        digest = hashlib.sha256(native).hexdigest()
        _replace(_seal(code), _sealing(code, digest, key))

    def _make_room(self, size: int) -> None:
        seals = sorted(self._folder.glob("*.seal"), key=lambda path: path.stat().st_mtime)
        codes = [seal.with_suffix("") for seal in seals]
        sizes = [code.stat().st_size if code.exists() else 0 for code in codes]
        total = sum(sizes) + size
        for seal, code, own in zip(seals, codes, sizes, strict=True):
            if total <= KEPT:
                return
            seal.unlink(missing_ok=True)
            code.unlink(missing_ok=True)
            total -= own

    def _key(self) -> bytes:
        """The key of this folder; made with it. Raises OSError where others could write there."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid"):
            found = self._folder.stat()
            if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(f"others may write into {self._folder}")
        file = self._folder / "key"
        try:
            key = file.read_bytes()
        except FileNotFoundError:
            _replace(file, secrets.token_bytes(32), anew=True)
            key = file.read_bytes()
        if len(key) != 32:
            raise PermissionError(f"{file} is no key")
        return key


def _sealed(code: Path, key: bytes) -> bool:
    """Is this what was written here? Without reading it all, where the file system says that nothing wrote to it."""
    told: dict[str, Any] = json.loads(_seal(code).read_bytes())
    digest, stamp = str(told.get("digest")), _stamp(code)
    if not _same(told.get("mac"), _mac(key, code.name, digest)):
        raise ValueError("its seal was not made here")
    if told.get("stamp") == stamp and _same(told.get("stamped"), _mac(key, code.name, digest, stamp)):
        return True
    with code.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ValueError("it is not what was written")
    _replace(_seal(code), _sealing(code, digest, key))
    return True


def _sealing(code: Path, digest: str, key: bytes) -> bytes:
    stamp = _stamp(code)
    mac, stamped = _mac(key, code.name, digest), _mac(key, code.name, digest, stamp)
    return json.dumps({"digest": digest, "mac": mac, "stamp": stamp, "stamped": stamped}).encode()


def _stamp(code: Path) -> str:
    """What changes with every write: nobody can set the time of a file's last change but by making one."""
    found = code.stat()
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def _mac(key: bytes, *told: str) -> str:
    return hmac.new(key, "\0".join(told).encode(), "sha256").hexdigest()


def _same(given: Any, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())


def _seal(code: Path) -> Path:
    return code.with_name(f"{code.name}.seal")


def _replace(file: Path, content: bytes, anew: bool = False) -> None:
    """Write a file at once, for this user only. ``anew``: leave one that is there."""
    aside = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
        if anew:
            try:
                os.link(aside, file)
            except FileExistsError:
                return
        else:
            os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def _made_for(engine: Engine) -> str:
    """What compiled code depends on, beside the module."""
    from importlib.metadata import version

    told = f"wasmtime {version('wasmtime')} {platform.machine()} {platform.system()} {engine.settings.key}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _usual() -> Path:
    usual = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dataflare")
    return Path(os.environ.get("DATAFLARE_CACHE") or usual) / "wasm"
