"""A WASM module that speaks the guest protocol, as a ``Transport``: one instance, frames through its memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataflare.errors import ConfigError
from dataflare.guest.frames import Frame
from dataflare.hosting.transport import lost
from dataflare_wasm.carrier import Carrier
from dataflare_wasm.ending import Ended
from dataflare_wasm.exchange import Exchange
from dataflare_wasm.sandbox import MEMORY, START, Sandbox

if TYPE_CHECKING:
    import wasmtime

    from dataflare.hosting import Limits
    from dataflare.hosting.transport import Answering
    from dataflare_wasm.engine import Engine
    from dataflare_wasm.imports import Signature

ABI = 1
EXPORTS: Mapping[str, Signature] = {
    "dataflare_abi": ((), ("i32",)),
    "dataflare_reserve": (("i32",), ("i32",)),
    "dataflare_call": (("i32",), ("i64",)),
}


class WasmGuest(Carrier):
    """One instance of a module. Raises ConfigError ``plugin.wasm_abi``, GuestLost where it does not start."""

    def __init__(self, engine: Engine, module: wasmtime.Module, limits: Limits, plugin: str) -> None:
        super().__init__(plugin, limits)
        self._exchange = Exchange(plugin)
        # While one lives, the engine has the module at hand for others; with the last its memory goes too.
        self._module = module
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
        """Bytes of its linear memory."""
        return self.sandbox.memory.size

    def close(self) -> None:
        """End it. Never raises. From any thread."""
        self.sandbox.close()

    def _carry(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        pieces, sandbox = request.pieces(), self.sandbox
        size = sum(map(len, pieces))
        with sandbox.within(seconds), self._exchange.with_answers(sandbox, answering), self.usage.call(size):
            sandbox.memory.write(sandbox.call("dataflare_reserve", size), pieces)
            told = sandbox.call("dataflare_call", size)
            length = told & 0xFFFFFFFF
            self.bounded(length, size)
            answer = self.unpacked(sandbox.memory.read(told >> 32, length), size)
            self.usage.answered(length, sandbox.memory.size)
        return answer
