"""A WASM module that speaks the guest protocol, as a ``Transport``: one instance, frames through its memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataflare.errors import ConfigError, Failed
from dataflare.guest.frames import Frame
from dataflare.hosting.transport import GuestLost, lost
from dataflare_wasm.ending import Ended
from dataflare_wasm.exchange import Exchange
from dataflare_wasm.memory import OutOfMemory
from dataflare_wasm.sandbox import MEMORY, START, Sandbox
from dataflare_wasm.usage import Usage

if TYPE_CHECKING:
    import wasmtime

    from dataflare.hosting import Limits
    from dataflare.hosting.transport import Answering, Loss
    from dataflare_wasm.engine import Engine
    from dataflare_wasm.imports import Signature

ABI = 1
EXPORTS: Mapping[str, Signature] = {
    "dataflare_abi": ((), ("i32",)),
    "dataflare_reserve": (("i32",), ("i32",)),
    "dataflare_call": (("i32",), ("i64",)),
}
FREE = 64 << 10
"""Bytes that an answer may always have."""


class WasmGuest:
    """One instance of a module. Raises ConfigError ``plugin.wasm_abi``, GuestLost where it does not start."""

    def __init__(self, engine: Engine, module: wasmtime.Module, limits: Limits, plugin: str) -> None:
        self.plugin = plugin
        self._limits = limits
        self._exchange = Exchange(plugin)
        self._usage = Usage()
        self._opened = ""
        self._turn = threading.Lock()
        try:
            self.sandbox = Sandbox(
                engine, module, self._exchange.imports, plugin=plugin, memory=limits.memory or MEMORY
            )
            with self.sandbox.within(START):
                abi = self.sandbox.call("dataflare_abi")
        except Ended as error:
            raise lost(error.code, plugin, Frame({"op": "start"}), error.cause) from error
        if abi != ABI:
            self.close()
            message = f"the module of `{plugin}` has version {abi} of the interface, this host has {ABI}"
            raise ConfigError.of("plugin.wasm_abi", message, fix="build it with an SDK for this host")

    @property
    def memory(self) -> int:
        """Bytes of linear memory that it has now."""
        return self.sandbox.memory.size

    def call(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        """The guest's answer. Raises GuestLost; Failed ``guest.busy`` in the middle of another call."""
        if not self._turn.acquire(blocking=False):
            raise Failed.of("guest.busy", f"`{self.plugin}` was called while it works on another call")
        try:
            answer = self._called(request, answering, seconds)
        finally:
            self._turn.release()
        op = request.header.get("op")
        if op == "open":
            self._opened = str(request.header.get("component") or "")
        self._usage.tell(answering, at_once=op == "close")
        return answer

    def close(self) -> None:
        """End it. Never raises. From any thread."""
        self.sandbox.close()

    def _called(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        pieces, sandbox = request.pieces(), self.sandbox
        size = sum(map(len, pieces))
        try:
            with sandbox.within(seconds), self._exchange.with_answers(sandbox, answering), self._usage.call(size):
                sandbox.memory.write(sandbox.call("dataflare_reserve", size), pieces)
                told = sandbox.call("dataflare_call", size)
                length = told & 0xFFFFFFFF
                self._check_size(length, size)
                answer = Frame.unpack(sandbox.memory.read(told >> 32, length))
                self._usage.answered(length, sandbox.memory.size)
        except Ended as error:
            raise self._lost(error.code, request, error.cause) from error
        except OutOfMemory as error:
            raise self._lost("guest.frame", request, f"it named bytes that it does not have: {error}") from error
        except Failed as error:
            raise self._lost("guest.frame", request, error.problems[0].cause or str(error)) from error
        return answer

    def _check_size(self, length: int, size: int) -> None:
        ratio = self._limits.output_ratio
        if ratio is not None and length > max(FREE, ratio * size):
            raise Ended("guest.output", f"it answered with {length:,} bytes to {size:,}, more than {ratio:g} times")

    def _lost(self, code: Loss, request: Frame, cause: str) -> GuestLost:
        self.close()
        told = {**request.header, "component": request.header.get("component") or self._opened}
        return lost(code, self.plugin, Frame(told), cause)
