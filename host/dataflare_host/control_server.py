"""The runner's end of the control socket, and the lock that says who runs the flow on this machine.

The kernel frees the lock with the process. A holder that does not answer (a frozen process) keeps nobody out: whether
it still owns the flow, the lease in the store says.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dataflare.errors import DataflareError, StateError, problem_of
from dataflare_host.control import PROTOCOL, connected, receive, run_folder, same_user, send, socket_path

MAX_CONNECTIONS = 32
GREETS_WITHIN = 1.0
LOOK_EVERY = 0.1
Json = Any
_log = logging.getLogger("dataflare.control")
CommandHandler = Callable[[str, dict[str, Any]], dict[str, Any]]


class Server:
    """Listens for a runner's commands while its ``with`` block runs.

    ``handler(name, args)`` answers a command, from any thread. Raises StateError ``run.already_running``
    where another process of this machine runs the flow and answers. One that is silent is replaced here as soon as the
    flow runs, which is when its lease was taken over. Where the folder cannot be written there is no socket
    (``path`` is None) and the flow runs all the same.
    """

    def __init__(self, folder: Path, name: str, handler: CommandHandler, about: Mapping[str, Any]) -> None:
        self.folder, self.name, self.handler = folder, name, handler
        self.hello = {
            "op": "hello",
            "protocol": PROTOCOL,
            "flow": name,
            "pid": os.getpid(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **about,
        }
        self.path: Path | None = None
        self._lock: IO[str] | None = None
        self._listener: socket.socket | None = None
        self._lines: dict[socket.socket, threading.Lock] = {}
        self._outcome: dict[str, Any] = {}
        self._over = threading.Event()
        self._turn = threading.Lock()

    def __enter__(self) -> Server:
        if not self._begin(replace=False):
            threading.Thread(target=self._replace_silent, name="control-wait", daemon=True).start()
        return self

    def _begin(self, *, replace: bool) -> bool:
        """Take the lock and listen; False where a silent process holds it, which only ``replace`` overrules."""
        try:
            self._lock = _take_lock(self.folder, self.name, replace=replace)
            if self._lock is None:
                return False
            self.path = socket_path(self.folder, self.name, make=True)
            self.path.unlink(missing_ok=True)
            self._listener = _listen(self.path)
        except OSError as error:
            _log.warning("the flow `%s` runs without a control socket: %s", self.name, error)
            self._release()
            return True
        except BaseException:
            self._release()
            raise
        threading.Thread(target=self._accept, name="control", daemon=True).start()
        return True

    def _replace_silent(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            with suppress(DataflareError):
                if self.handler("status", {}).get("status") in ("running", "blocked"):
                    with self._turn:
                        if not self._over.is_set():
                            self._begin(replace=True)
                    return

    def ended(self, outcome: Mapping[str, Any]) -> None:
        """What is told to everybody who listens when the flow is over."""
        self._outcome = dict(outcome)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._turn:
            self._release()
        for line, guard in list(self._lines.items()):
            with suppress(OSError):
                line.settimeout(1.0)
                with guard:
                    send(line, {"op": "ended"}, self._outcome)
            _hang_up(line)

    def _release(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            _hang_up(listener)
        if self.path is not None:
            with suppress(OSError):
                if _is_at(self._lock, _lock_path(self.folder, self.name)):
                    self.path.unlink(missing_ok=True)
            self.path = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _accept(self) -> None:
        while (listener := self._listener) is not None:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            if len(self._lines) >= MAX_CONNECTIONS or not same_user(line):
                line.close()
                continue
            self._lines[line] = threading.Lock()
            threading.Thread(target=self._serve, args=(line,), name="control-line", daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        guard = self._lines[line]
        try:
            with line, line.makefile("rb") as stream, suppress(OSError, EOFError, DataflareError):
                with guard:
                    send(line, self.hello)
                while True:
                    header, args = receive(stream)
                    answer = self._answer(str(header.get("op")), args)
                    with guard:
                        send(line, *answer)
        finally:
            self._lines.pop(line, None)

    def _answer(self, name: str, args: Json) -> tuple[dict[str, Any], Json]:
        try:
            return {"op": "answer", "ok": True}, self.handler(name, dict(args or {}))
        except DataflareError as error:
            return {"op": "answer", "ok": False}, [problem.as_json() for problem in error.problems]
        except Exception as error:
            return {"op": "answer", "ok": False}, [problem_of(error).as_json()]


def _lock_path(folder: Path, name: str) -> Path:
    return run_folder(folder) / f"{name}.lock"


def _take_lock(folder: Path, name: str, *, replace: bool) -> IO[str] | None:
    """The lock; None where its holder is silent. ``replace``: put a new lock in the place of that one."""
    import fcntl

    path = _lock_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _opened(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = lock.read().strip() or "unknown"
        lock.close()
        if not replace:
            if not _greets(folder, name):
                return None
            message = f"the flow `{name}` runs already, as process {owner}"
            fix = "look with `dataflare flow status`, end it with `dataflare flow stop`"
            raise StateError.of("run.already_running", message, file=str(path), fix=fix) from None
        aside = path.with_suffix(f".{os.getpid()}")
        lock = _opened(aside)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aside.replace(path)
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _opened(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8")


def _greets(folder: Path, name: str) -> bool:
    """Does the runner of this flow say hello? One that is starting gets some time for it, a frozen one never does."""
    until = time.monotonic() + GREETS_WITHIN
    while (left := until - time.monotonic()) > 0:
        with suppress(DataflareError), connected(folder, name, greets_within=left):
            return True
        time.sleep(LOOK_EVERY / 10)
    return False


def _is_at(lock: IO[str] | None, path: Path) -> bool:
    """Is this lock still the one of that name?"""
    try:
        return lock is not None and os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(MAX_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
