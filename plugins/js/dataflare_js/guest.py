"""A plugin's script as a ``Transport``: one instance of the engine, frames through its memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.guest.frames import Frame
from dataflare.hosting.transport import Guests, Transport, lost
from dataflare_js.places import PLUGIN, Places
from dataflare_js.script import Script, Thrown
from dataflare_wasm.carrier import Carrier
from dataflare_wasm.ending import Ended
from dataflare_wasm.exchange import Exchange
from dataflare_wasm.memory import OutOfMemory
from dataflare_wasm.sandbox import START

if TYPE_CHECKING:
    import wasmtime

    from dataflare.hosting import Limits
    from dataflare.hosting.transport import Answering
    from dataflare_wasm.engine import Engine

PRELUDE = Path(__file__).parent / "engine" / "prelude.js"


@dataclass(frozen=True)
class Bundle:
    """A plugin's script, and what runs it. ``memory`` is in bytes."""

    plugin: str
    script: bytes
    places: Places
    engine: Engine
    module: wasmtime.Module
    memory: int
    limits: Limits


class JavaScriptGuest(Carrier):
    """One running script of a plugin. Raises GuestLost where it cannot be loaded."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle.plugin, bundle.limits)
        self._bundle = bundle
        self._exchange = Exchange(bundle.plugin)
        ask, memory = self._exchange.answer, bundle.memory
        start = Frame({"op": "start"})
        try:
            self._script = Script(bundle.engine, bundle.module, ask, plugin=bundle.plugin, memory=memory)
        except Ended as error:
            raise lost(error.code, self.plugin, start, error.cause) from error
        try:
            with self._script.sandbox.within(START):
                self._script.load("prelude.js", _called(PRELUDE.read_bytes(), b"module, exports, host"))
                self._script.load(PLUGIN, _called(bundle.script + _CHECK, b"module, exports"))
        except Ended as error:
            raise self._lost(error.code, start, error.cause) from error
        except OutOfMemory as error:
            raise self._lost("guest.frame", start, f"it named bytes that it does not have: {error}") from error
        except Thrown as error:
            ended = self._ended(error)
            raise self._lost(ended.code, start, ended.cause) from error

    @property
    def memory(self) -> int:
        """Bytes of memory that it has now."""
        return self._script.sandbox.memory.size

    def close(self) -> None:
        """End it. Never raises. From any thread."""
        self._script.sandbox.close()

    def _carry(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        pieces, sandbox = request.pieces(), self._script.sandbox
        size = sum(map(len, pieces))

        def told(question: Frame) -> Frame:
            if question.header.get("op") == "log":
                message = self._bundle.places.told(str(question.header.get("message")))
                question = Frame({**question.header, "message": message}, question.parts)
            return answering(question)

        try:
            with sandbox.within(seconds), self._exchange.with_answers(sandbox, told), self.usage.call(size):
                content = self._script.invoke(pieces, lambda length: self.bounded(length, size))
                answer = self._put_right(self.unpacked(content, size))
                self.usage.answered(len(content), self.memory)
        except Thrown as error:
            raise self._ended(error) from error
        return answer

    def _put_right(self, answer: Frame) -> Frame:
        """An error that the plugin's SDK caught: its stack in the author's places."""
        error = answer.header.get("error")
        details = error.get("details") if isinstance(error, dict) else None
        stack = details.get("stack") if isinstance(details, dict) else None
        if not isinstance(error, dict) or not isinstance(details, dict) or not isinstance(stack, str):
            return answer
        place = self._bundle.places.first(stack)
        cause = " at ".join(str(part) for part in (error.get("cause"), place) if part)
        told = {**error, "cause": cause, "details": {**details, "stack": self._bundle.places.error(stack)}}
        return Frame({**answer.header, "error": told}, answer.parts)

    def _ended(self, error: Thrown) -> Ended:
        """What the script threw is no answer: nobody knows in which state it is."""
        told = self._bundle.places.error(str(error))
        first = told.partition("\n")[0]
        # One engine throws an error, the other text; and null where there is no room for an error.
        crowded = first == "null" and self.memory > self._bundle.memory * 3 // 4
        if crowded or first in ("out of memory", "InternalError: out of memory"):
            return Ended("guest.memory", f"it needs more memory than its {self._bundle.memory:,} bytes")
        return Ended("guest.trap", told)


class Instances(Guests):
    """The running scripts of one plugin; started when they are needed."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(lambda: JavaScriptGuest(bundle))
        self._bundle = bundle

    def give_back(self, transport: Transport) -> None:
        """Kept for the next, unless its memory has grown: that never shrinks again."""
        assert isinstance(transport, JavaScriptGuest)
        if transport.memory > self._bundle.memory // 4:
            transport.close()
        else:
            super().give_back(transport)


_CHECK = b"""
;if (typeof module.exports.handle !== "function") throw "the script exports no function `handle`";"""


def _called(script: bytes, given: bytes) -> bytes:
    """A script as the function that the engine calls; its first line becomes the second."""
    return b"(function (" + given + b") {\n" + script + b"\n})"
