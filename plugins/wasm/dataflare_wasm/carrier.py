"""What all guests of this bundle are as a ``Transport``: one call at a time, counted, and lost in one form."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from dataflare.errors import Failed
from dataflare.guest.frames import Frame
from dataflare.hosting.transport import GuestLost, lost
from dataflare_wasm.ending import Ended
from dataflare_wasm.memory import OutOfMemory
from dataflare_wasm.usage import Usage

if TYPE_CHECKING:
    from dataflare.hosting import Limits
    from dataflare.hosting.transport import Answering, Loss

FREE = 64 << 10
"""Bytes that an answer may always have."""


class Carrier(ABC):
    """A guest of a plugin. What it does for a call is ``_carry``."""

    def __init__(self, plugin: str, limits: Limits) -> None:
        self.plugin = plugin
        self.limits = limits
        self.usage = Usage()
        self._opened = ""
        self._turn = threading.Lock()

    def call(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        """The guest's answer. Raises GuestLost; Failed ``guest.busy`` in the middle of another call."""
        if not self._turn.acquire(blocking=False):
            raise Failed.of("guest.busy", f"`{self.plugin}` was called while it works on another call")
        op = request.header.get("op")
        try:
            if op == "open":
                self._opened = str(request.header.get("component") or "")
            answer = self._carry(request, answering, seconds)
        except Ended as error:
            raise self._lost(error.code, request, error.cause) from error
        except OutOfMemory as error:
            raise self._lost("guest.frame", request, f"it named bytes that it does not have: {error}") from error
        finally:
            self._turn.release()
        self.usage.tell(answering, at_once=op == "close")
        return answer

    @abstractmethod
    def close(self) -> None:
        """End it. Never raises. From any thread."""

    @abstractmethod
    def _carry(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        """The guest's answer. Raises Ended, OutOfMemory."""

    def unpacked(self, content: bytes, size: int) -> Frame:
        """The frame in an answer to a request of so many bytes. Raises Ended: it is too large, or no frame."""
        self.bounded(len(content), size)
        try:
            return Frame.unpack(content)
        except Failed as error:
            raise Ended("guest.frame", error.problems[0].cause or str(error)) from error

    def bounded(self, length: int, size: int) -> None:
        """Raises Ended for an answer with more bytes than a request of so many allows."""
        ratio = self.limits.output_ratio
        if ratio is not None and length > max(FREE, ratio * size):
            raise Ended("guest.output", f"it answered with {length:,} bytes to {size:,}, more than {ratio:g} times")

    def _lost(self, code: Loss, request: Frame, cause: str) -> GuestLost:
        self.close()
        told = {**request.header, "component": request.header.get("component") or self._opened}
        return lost(code, self.plugin, Frame(told), cause)
