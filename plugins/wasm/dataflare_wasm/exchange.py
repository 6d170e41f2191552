"""The host's functions that a module of the guest protocol imports: its questions, and its log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dataflare.errors import DataflareError, Failed, problem_of
from dataflare.guest.frames import Frame
from dataflare_wasm.memory import OutOfMemory
from dataflare_wasm.sandbox import Import

if TYPE_CHECKING:
    from dataflare.hosting.transport import Answering
    from dataflare_wasm.sandbox import Sandbox

MODULE = "dataflare"
IMPORTS = tuple((MODULE, name) for name in ("host_call", "host_read", "log"))
LEVELS = ("debug", "info", "warning", "error")
_LOG = 64 << 10


class Exchange:
    """Carries one guest's questions to the call that is under way."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._answering: Answering | None = None
        self._waiting: bytes | None = None
        """An answer that the guest has not read yet."""

    @contextmanager
    def with_answers(self, sandbox: Sandbox, answering: Answering) -> Iterator[None]:
        """Questions in here are answered; what the guest says goes to the log of its step."""

        def tell(level: str, line: str) -> None:
            answering(Frame({"op": "log", "level": level, "message": f"{self._plugin}: {line}"}))

        self._answering, sandbox.journal.telling = answering, tell
        try:
            yield
        finally:
            self._answering = self._waiting = None
            sandbox.journal.reset()

    def answer(self, sandbox: Sandbox, content: bytes) -> bytes:
        """The answer to a question, both as bytes. Never raises: a refusal is an answer with ``error``."""
        try:
            question = Frame.unpack(content)
            if self._answering is None:
                raise Failed.of("guest.no_host", f"nobody answers `{question.header.get('op')}` here")
            if question.header.get("op") == "log" and not sandbox.journal.admits():
                return Frame({}).pack()
            began = time.monotonic()
            try:
                return self._answering(question).pack()
            finally:
                sandbox.lend(time.monotonic() - began)  # the host's time is not the guest's
        except (DataflareError, ValueError, TypeError) as error:
            return Frame({"error": problem_of(error, "guest.question_failed").as_json()}).pack()

    def imports(self, sandbox: Sandbox) -> list[Import]:
        """The functions, for this sandbox. A function that cannot do what it is asked ends the guest."""

        def host_call(at: int, length: int) -> int:
            try:
                answer = self.answer(sandbox, sandbox.memory.read(at, length))
            except OutOfMemory as error:
                sandbox.stop("guest.frame", f"in host_call: {error}")
                return -1
            self._waiting = answer
            return len(answer)

        def host_read(at: int) -> None:
            answer, self._waiting = self._waiting, None
            if answer is None:
                sandbox.stop("guest.frame", "in host_read: there is no answer to read")
                return
            try:
                sandbox.memory.write(at, [answer])
            except OutOfMemory as error:
                sandbox.stop("guest.frame", f"in host_read: {error}")

        def log(level: int, at: int, length: int) -> None:
            try:
                text = sandbox.memory.read(at, min(length & 0xFFFFFFFF, _LOG)).decode("utf-8", "replace")
            except OutOfMemory as error:
                sandbox.stop("guest.frame", f"in log: {error}")
                return
            sandbox.journal.tell(LEVELS[min(max(level, 0), len(LEVELS) - 1)], text)

        return [
            Import(MODULE, "host_call", ("i32", "i32"), ("i32",), host_call),
            Import(MODULE, "host_read", ("i32",), (), host_read),
            Import(MODULE, "log", ("i32", "i32", "i32"), (), log),
        ]
