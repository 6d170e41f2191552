"""The wasmtime engine of this process: its settings, its modules, its clock."""

from __future__ import annotations

import atexit
import hashlib
import threading
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from dataflare.errors import ConfigError
from dataflare_wasm.cache import Cache
from dataflare_wasm.ticker import Ticker

if TYPE_CHECKING:
    import wasmtime

LARGEST = 256 << 20
"""Bytes that a module's file may have."""


@dataclass(frozen=True)
class Settings:
    """What modules are compiled for. All of it is part of the cache's key.

    ``stack`` bytes may be used by a guest's calls. Above 2 MiB wasmtime ends the whole process.
    """

    stack: int = 2 << 20

    def __post_init__(self) -> None:
        if not 64 << 10 <= self.stack <= 2 << 20:
            raise ValueError("the stack of a guest has 64 KiB to 2 MiB")

    @property
    def key(self) -> str:
        """The settings as text."""
        return ",".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


class Engine:
    """Compiles modules, or takes them from the cache, and runs the clock of their deadlines. Thread-safe."""

    def __init__(self, settings: Settings = Settings(), cache: Cache | None = None) -> None:
        import wasmtime

        config = wasmtime.Config()
        config.epoch_interruption = True
        config.max_wasm_stack = settings.stack
        # A guest that waits on shared memory could not be interrupted.
        config.wasm_threads = False
        config.wasm_memory64 = False
        self.settings = settings
        self.wasmtime = wasmtime.Engine(config)
        self.ticker = Ticker(self.wasmtime.increment_epoch)
        self._cache = cache or Cache()
        self._modules: WeakValueDictionary[str, wasmtime.Module] = WeakValueDictionary()
        self._digests: dict[tuple[str, int, int, int, int], str] = {}
        self._turn = threading.Lock()

    def module(self, wasm: Path | bytes, known: str = "") -> wasmtime.Module:
        """The compiled module of a WASM file or of its bytes; compiled once, then taken from the cache.

        ``known``: what stands for the content of our own file as a digest does; then it is read only to be compiled.
        Raises ConfigError ``plugin.wasm_missing``, ``plugin.wasm_invalid``.
        """
        with self._turn:
            digest = known or self._digest(wasm)
            module = self._modules.get(digest)
            if module is None:
                content = partial(_content, wasm) if known else partial(self._same, wasm, digest)
                module = self._cache.module(self, digest, content)
                self._modules[digest] = module
            return module

    def compile(self, content: bytes) -> wasmtime.Module:
        """Compile WASM, whatever the cache has. Raises ConfigError ``plugin.wasm_invalid``."""
        import wasmtime

        try:
            # Not through Module's own reading of text: only the binary format is a plugin.
            if not content.startswith(b"\0asm"):
                raise wasmtime.WasmtimeError("it does not begin as a WASM module does")
            return wasmtime.Module(self.wasmtime, content)
        except wasmtime.WasmtimeError as error:
            fix = "build it again as a core module (not a component), for 32-bit memory and without threads"
            raise ConfigError.of(
                "plugin.wasm_invalid", "what should be a WASM module cannot be compiled", cause=str(error), fix=fix
            ) from error

    def close(self) -> None:
        """The process ends: nothing is started any more, and what runs has no deadline."""
        self.ticker.stop()
        self.wasmtime.close()

    def _digest(self, wasm: Path | bytes) -> str:
        """The SHA-256 of a module; a file that did not change is read once."""
        if isinstance(wasm, bytes):
            return hashlib.sha256(wasm).hexdigest()
        try:
            stat = wasm.stat()
        except OSError as error:
            raise _missing(wasm, error) from error
        stamp = (str(wasm), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        if stamp not in self._digests:
            self._digests[stamp] = hashlib.sha256(_content(wasm)).hexdigest()
        return self._digests[stamp]

    def _same(self, wasm: Path | bytes, digest: str) -> bytes:
        """The content that has this digest. Raises ConfigError where the file was exchanged meanwhile."""
        content = _content(wasm)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ConfigError.of("plugin.wasm_invalid", f"the module `{wasm!s}` changes while it is read")
        return content


@lru_cache
def engine(settings: Settings = Settings()) -> Engine:
    """The engine of this process for these settings."""
    made = Engine(settings)
    # Later, wasmtime's own functions are gone.
    atexit.register(made.close)
    return made


def _content(wasm: Path | bytes) -> bytes:
    try:
        content = wasm if isinstance(wasm, bytes) else wasm.read_bytes()
    except OSError as error:
        raise _missing(wasm, error) from error
    if len(content) > LARGEST:
        message = f"the module has {len(content):,} bytes, more than {LARGEST:,}"
        raise ConfigError.of("plugin.wasm_invalid", message, fix="build a smaller one")
    return content


def _missing(wasm: Path | bytes, error: OSError) -> ConfigError:
    return ConfigError.of(
        "plugin.wasm_missing",
        f"the module `{wasm!s}` cannot be read",
        cause=str(error),
        fix="build the plugin, or correct `entry` of its manifest",
    )
