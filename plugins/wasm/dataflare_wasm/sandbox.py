"""One running instance of a WASM module, with bounds on what it may use. Loaders build on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import proxy

from dataflare.errors import ConfigError
from dataflare_wasm import wasi
from dataflare_wasm.deadline import EVERY, Interrupt
from dataflare_wasm.ending import Ended, ending
from dataflare_wasm.journal import Journal
from dataflare_wasm.memory import LinearMemory
from dataflare_wasm.ticker import TICK

if TYPE_CHECKING:
    import wasmtime

    from dataflare.hosting.transport import Loss
    from dataflare_wasm.engine import Engine
    from dataflare_wasm.export import Export

MEMORY = 256 << 20
"""Bytes of linear memory where nobody says less or more."""
START = 10.0
"""Seconds that a module's start may take."""
_TABLE_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class Import:
    """A function of the host for a module: its types (``i32``, ``i64``, ``f64``) and what it does. Never raises."""

    module: str
    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    does: Callable[..., Any]


class Sandbox:
    """An instance: one thread at a time calls it, any may close it. After a trap or an exit it cannot be used.

    ``imports`` makes the host's functions for it from a weak proxy of it: wasmtime keeps them as long as they keep it.
    Those of WASI are there where ``with_wasi``. ``memory`` bounds its linear memory, in bytes.

    Raises Ended for a module that does not start, ConfigError ``plugin.wasm_export`` for one without a memory.
    """

    def __init__(
        self,
        engine: Engine,
        module: wasmtime.Module,
        imports: Callable[[Sandbox], Iterable[Import]] = lambda _: (),
        *,
        plugin: str,
        memory: int = MEMORY,
        with_wasi: bool = True,
    ) -> None:
        import wasmtime

        self.journal = Journal(plugin)
        self.limit = memory
        self._engine = engine
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._running = 0
        self._until = 0.0
        self._fault: Ended | None = None
        self._functions: dict[str, Export] = {}
        linker = wasmtime.Linker(engine.wasmtime)
        store = self._store = wasmtime.Store(engine.wasmtime)
        store.set_limits(memory_size=memory, instances=1, memories=4, tables=16, table_elements=_TABLE_ELEMENTS)
        if with_wasi:
            wasi.define(linker, proxy(self))
            store.set_wasi(wasi.configuration())
        for each in imports(proxy(self)):
            linker.define_func(each.module, each.name, _type(each), each.does)
        self._interrupt = Interrupt(store, self._over)
        try:
            with self.within(START):
                instance = self._guarded(linker.instantiate, store, module)
                self._found(instance.exports(store))
                if with_wasi and self.has("_initialize"):
                    self.call("_initialize")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Calls in here may take so long altogether; then Ended ``guest.timeout`` is raised."""
        with self._turn:
            if self._fault is not None or self._stopping.is_set():
                raise self._fault or Ended("guest.exited", "it was closed")
            self._running += 1
        self._until = time.monotonic() + seconds
        self._engine.ticker.enter()
        try:
            yield
        finally:
            self._engine.ticker.leave()
            self.journal.flush()
            with self._turn:
                self._running -= 1
                over = self._fault is not None or self._stopping.is_set()
            if over:
                self._release()

    def call(self, export: str, *given: int) -> Any:
        """Call a function of the guest, inside of ``within``; from a host function too. Raises Ended."""
        return self._guarded(self._functions[export], self._store, *given)

    def has(self, export: str) -> bool:
        """Does the module export this function?"""
        return export in self._functions

    def stop(self, code: Loss, cause: str) -> None:
        """End the guest that runs as soon as it goes on: for a host function that cannot raise."""
        if self._fault is None:
            self._fault = Ended(code, cause)
        self._store.set_epoch_deadline(0)

    def lend(self, seconds: float) -> None:
        """The running call may take so much longer."""
        self._until += seconds

    def rest(self, seconds: float) -> bool:
        """Wait for a guest that sleeps; False, and it ends, where that goes beyond its deadline."""
        if seconds > self._until - time.monotonic():
            self.stop("guest.timeout", f"it wanted to sleep for {seconds:g} s, longer than the call may take")
            return False
        if self._stopping.wait(seconds):
            self._store.set_epoch_deadline(0)
            return False
        return True

    def close(self) -> None:
        """End it. Never raises. From any thread; a guest that runs is interrupted soon."""
        self._stopping.set()
        with self._turn:
            if self._running:
                return
        self._release()

    def _found(self, exports: Any) -> None:
        import wasmtime

        from dataflare_wasm.export import Export

        for name, export in exports.items():
            if isinstance(export, wasmtime.Func):
                # A function with other types is nothing that the host calls.
                with suppress(ValueError):
                    self._functions[str(name)] = Export(self._store, export)
        memory = exports.get("memory")
        if not isinstance(memory, wasmtime.Memory):
            fix = "build the module with an SDK for this host"
            raise ConfigError.of("plugin.wasm_export", "the module does not export `memory`", fix=fix)
        self.memory = LinearMemory(self._store, memory)

    def _over(self) -> bool:
        if self._stopping.is_set() or self._fault is not None:
            return True
        if time.monotonic() >= self._until:
            self._fault = Ended("guest.timeout", "it took longer than the call may take")
            return True
        return False

    def _guarded(self, work: Callable[..., Any], *given: Any) -> Any:
        import wasmtime

        self._store.set_epoch_deadline(self._ticks())
        try:
            answer = work(*given)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            self.journal.flush()
            if self._fault is None:
                if self._stopping.is_set():
                    self._fault = Ended("guest.exited", "it was closed while it worked")
                else:
                    self._fault = ending(error, self)
            raise self._fault from error
        if self._fault is not None:
            raise self._fault
        return answer

    def _ticks(self) -> int:
        return max(1, min(EVERY, int((self._until - time.monotonic()) / TICK) + 1))

    def _release(self) -> None:
        with self._turn:
            if hasattr(self, "memory"):
                self.memory.forget()
            self._functions.clear()
            self._store.close()


def _type(one: Import) -> wasmtime.FuncType:
    from wasmtime import FuncType, ValType

    types = {"i32": ValType.i32, "i64": ValType.i64, "f64": ValType.f64}
    return FuncType([types[each]() for each in one.takes], [types[each]() for each in one.gives])
