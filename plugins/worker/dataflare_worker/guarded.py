"""Starts processes that end with this one: told to a guard, and started by a thread that lives as long as the host."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_GUARD = Path(__file__).with_name("guard.py")


class Guard:
    """The process that ends what this one leaves behind; there is one, started with the first guest. Thread-safe."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._left: dict[str, str] = {}
        self._owner = 0

    def started(self, group: int, mark: str, folder: Path) -> None:
        """A guest was started, the first of its process group."""
        line = f"{group} {mark} {folder}\n"
        with self._turn:
            if self._owner != os.getpid():
                # A fork of the host has guests of its own, and ends with them.
                self._process, self._left, self._owner = None, {}, os.getpid()
            self._left[mark] = line
            self._tell("+ " + line)

    def ended(self, mark: str) -> None:
        """The guest has ended: what has its mark is killed, its folder is removed."""
        with self._turn:
            if (line := self._left.pop(mark, None)) is not None:
                self._tell("- " + line)

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.poll() is not None:
            words = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())]
            quiet = subprocess.DEVNULL
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env={}, cwd="/", start_new_session=True
            )
            line = "".join("+ " + known for known in self._left.values()) + (line if line[0] == "-" else "")
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), os.fsencode(line))
        except BrokenPipeError:
            # It was killed in this moment: the next line goes to a new one, which is told of all that is left.
            self._process.kill()


class Starter:
    """A thread that starts processes, and ends with the host; a fork of the host has one of its own. Thread-safe."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._owner = 0

    def call(self, start: Callable[[], T]) -> T:
        """Call ``start`` in that thread: a guest is killed when the thread that started it ends."""
        with self._turn:
            if self._owner != os.getpid():
                self._thread, self._owner = ThreadPoolExecutor(1, "dataflare-guests"), os.getpid()
        return self._thread.submit(start).result()


GUARD = Guard()
STARTER = Starter()
