"""One script in an engine instance of its own: the calls of ``engine/world.wit`` as the engine's core module has them.

Lists cross as (pointer, length) in the guest's memory, which may move with every call: no address is kept.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import proxy

from dataflare_wasm.ending import Ended
from dataflare_wasm.memory import OutOfMemory
from dataflare_wasm.sandbox import START, Import, Sandbox

if TYPE_CHECKING:
    import wasmtime

    from dataflare_wasm.engine import Engine

HOST = "dataflare:engine/host"
LEVELS = ("debug", "info", "warning", "error")
Piece = bytes | memoryview
Ask = Callable[[Sandbox, bytes], bytes]
_RANDOM_AT_ONCE = 65536
_LOG_BYTES = 16 * 1024
_ERROR_BYTES = 64 * 1024


class Thrown(Exception):
    """The script threw what its engine could catch; the text is the error and its stack, as the engine writes it."""


class Script:
    """An instance of an engine and what was evaluated in it. One call at a time; ``memory`` is in bytes.

    ``ask`` answers the questions of the script. Raises Ended where the engine does not start.
    """

    def __init__(self, engine: Engine, module: wasmtime.Module, ask: Ask, *, plugin: str, memory: int) -> None:
        self._ask = ask
        self._waiting = False
        self.sandbox = Sandbox(engine, module, self._imports, plugin=plugin, memory=memory, with_wasi=False)
        if self.sandbox.has("_initialize"):
            with self.sandbox.within(START):
                self.sandbox.call("_initialize")

    def load(self, name: str, script: bytes) -> None:
        """Evaluate a script whose value is a function, and call that. Raises Thrown, Ended, OutOfMemory."""
        self._call("load", ([name.encode()], [script]), lambda _: None)

    def invoke(self, request: Sequence[Piece], check: Callable[[int], None]) -> bytes:
        """What the script answers to a request; ``check`` is told its size before it is copied.

        Raises Thrown, Ended, OutOfMemory.
        """
        return self._call("invoke", (request,), check)

    def _call(self, export: str, given: Sequence[Sequence[Piece]], check: Callable[[int], None]) -> bytes:
        sandbox = self.sandbox
        try:
            words = [word for pieces in given for word in _put(sandbox, pieces)]
            at = sandbox.call(export, *words)
            failed, start, size = struct.unpack("<III", sandbox.memory.read(at, 12))
            if failed & 0xFF:
                text = sandbox.memory.read(start, min(size, _ERROR_BYTES)).decode("utf-8", "replace")
                raise Thrown(text)
            check(size)
            answer = sandbox.memory.read(start, size)
            sandbox.call(f"cabi_post_{export}", at)
            return answer
        except Ended as error:
            if self._waiting and error.code == "guest.trap":
                raise Ended("guest.trap", "the promise of `handle` never settles: nothing is left to run") from error
            raise

    def _imports(self, sandbox: Sandbox) -> list[Import]:
        """What the engine calls. A function that cannot do what it is asked ends the guest."""
        # wasmtime keeps these functions: they must not keep the script that keeps the sandbox.
        script, answer = proxy(self), self._ask

        def give(result: int, does: Callable[[], bytes]) -> None:
            try:
                start, size = _put(sandbox, [does()])
                sandbox.memory.write(result, [struct.pack("<II", start & 0xFFFFFFFF, size)])
            except OutOfMemory as error:
                sandbox.stop("guest.frame", f"it named bytes that it does not have: {error}")
            except Ended as error:
                sandbox.stop(error.code, error.cause)

        def ask(start: int, size: int, result: int) -> None:
            give(result, lambda: answer(sandbox, sandbox.memory.read(start, size)))

        def random(size: int, result: int) -> None:
            give(result, lambda: os.urandom(min(size & 0xFFFFFFFF, _RANDOM_AT_ONCE)))

        def log(level: int, start: int, size: int) -> None:
            try:
                text = sandbox.memory.read(start, min(size & 0xFFFFFFFF, _LOG_BYTES))
            except OutOfMemory as error:
                sandbox.stop("guest.frame", f"it named bytes that it does not have: {error}")
                return
            sandbox.journal.tell(LEVELS[min(level & 0xFF, len(LEVELS) - 1)], text.decode("utf-8", "replace"))

        def waiting(begins: int) -> None:
            script._waiting = bool(begins)

        return [
            Import(HOST, "ask", ("i32", "i32", "i32"), (), ask),
            Import(HOST, "now", (), ("f64",), lambda: time.time() * 1000),
            Import(HOST, "random", ("i32", "i32"), (), random),
            Import(HOST, "log", ("i32", "i32", "i32"), (), log),
            Import(HOST, "waiting", ("i32",), (), waiting),
        ]


def _put(sandbox: Sandbox, pieces: Sequence[Piece]) -> tuple[int, int]:
    """Copy bytes into memory that the guest makes for them, and then owns. Raises Ended, OutOfMemory."""
    size = sum(map(len, pieces))
    if not size:
        return 1, 0
    start = sandbox.call("cabi_realloc", 0, 0, 1, size)
    if not start:
        raise Ended("guest.memory", f"it has no room for {size:,} bytes")
    sandbox.memory.write(start, pieces)
    return start, size
