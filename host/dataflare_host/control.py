"""The local socket of a running flow: ``status``, ``stop``, ``drain`` and the other commands of a runner.

``FOLDER/.dataflare/run/NAME.sock`` beside the flow file, mode 0600, only for the same user. Frames have one JSON value:
the runner greets with ``hello`` (protocol, flow, pid), answers each command, and says ``ended`` before it goes.
``dataflare_host.control_server`` is its other end.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from dataflare.errors import ConfigError, DataflareError, Failed, Problem
from dataflare.guest.frames import Frame, broken

PROTOCOL = 1
MAX_PATH = 100
ANSWER_TIMEOUT = 30.0
Json = Any


def flows_in(folder: Path) -> list[dict[str, Any]]:
    """The greetings (``flow``, ``pid``, ``started``, ``digest``) of all flows of a folder that run now."""
    found = []
    for lock in sorted(run_folder(folder).glob("*.lock")):
        with suppress(DataflareError), connected(folder, lock.stem) as line:
            found.append(line.hello)
    return found


@contextmanager
def connected(folder: Path, name: str, greets_within: float = ANSWER_TIMEOUT) -> Iterator[Line]:
    """A line to the runner of a folder's flow. Raises ConfigError ``run.not_running``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, sock.makefile("rb") as stream:
        path = socket_path(folder, name)
        sock.settimeout(greets_within)
        try:
            sock.connect(str(path))
            if not same_user(sock):
                raise ConnectionRefusedError("the socket belongs to another user")
            line = Line(sock, stream)
            sock.settimeout(ANSWER_TIMEOUT)
        except (OSError, EOFError) as error:
            message, cause = f"the flow `{name}` does not run here", f"nobody answers at {path}: {error}"
            fix = "start it with `dataflare run`"
            raise ConfigError.of("run.not_running", message, cause=cause, fix=fix) from error
        yield line


class Line:
    """One connection to a runner. Not thread-safe."""

    def __init__(self, sock: socket.socket, stream: BinaryIO) -> None:
        self._sock, self._stream = sock, stream
        self.hello, _ = receive(stream)
        if (theirs := self.hello.get("protocol")) != PROTOCOL:
            message = f"the runner speaks protocol {theirs}, this command speaks {PROTOCOL}"
            raise Failed.of("run.protocol", message, fix="use the version of dataflare that started the flow")

    def ask(self, command: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Send a command and wait for its answer. Raises Failed ``run.no_answer`` where none comes."""
        try:
            send(self._sock, {"op": command}, dict(args))
            header, answer = receive(self._stream)
        except (OSError, EOFError, Failed) as error:
            raise Failed.of("run.no_answer", f"the runner did not answer `{command}`: {error}") from error
        if header.get("op") != "answer":
            raise Failed.of("run.no_answer", f"the flow ended before it answered `{command}`")
        if not header.get("ok"):
            raise _error_of(answer)
        return dict(answer or {})

    def patience(self, seconds: float) -> None:
        """How long the next answers are waited for."""
        self._sock.settimeout(seconds)

    def wait(self, timeout: float | None) -> dict[str, Any]:
        """Wait until the flow ended; its outcome, empty if it died. Raises TimeoutError."""
        self._sock.settimeout(timeout)
        try:
            header, outcome = receive(self._stream)
            while header.get("op") != "ended":
                header, outcome = receive(self._stream)
            return dict(outcome or {})
        except (EOFError, ConnectionError, Failed):
            return {}


def send(sock: socket.socket, header: dict[str, Any], value: Json = None) -> None:
    """Send a frame: its header, and one JSON value."""
    part = None if value is None else json.dumps(value, ensure_ascii=False, default=str).encode()
    sock.sendall(Frame(header, () if part is None else (part,)).pack())


def receive(stream: BinaryIO) -> tuple[dict[str, Any], Json]:
    """The next frame's header and value. Raises EOFError at the end, Failed ``guest.frame`` for rubbish."""
    frame = Frame.read(stream)
    if frame is None:
        raise EOFError("the other side hung up")
    try:
        return frame.header, json.loads(bytes(frame.parts[0])) if frame.parts else None
    except ValueError as error:
        raise broken(f"its payload is not JSON: {error}") from error


def _error_of(answer: Json) -> DataflareError:
    problems = [Problem.from_json(item) for item in answer or ()]
    kind = ConfigError if problems and problems[0].kind == "config" else Failed
    return kind(*problems)


def run_folder(folder: Path) -> Path:
    """Where the sockets and locks of a folder's flows are."""
    return folder / ".dataflare" / "run"


def socket_path(folder: Path, name: str, *, make: bool = False) -> Path:
    """The socket of a folder's flow; where its folder is too deep for one, elsewhere (``make``: note where)."""
    path = run_folder(folder) / f"{name}.sock"
    if len(os.fsencode(path)) <= MAX_PATH:
        return path
    pointer = path.with_suffix(".path")
    if make:
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
        pointer.write_text(str(_private_folder() / f"{digest}.sock"), encoding="utf-8")
    try:
        return Path(pointer.read_text(encoding="utf-8"))
    except OSError:
        return path


def _private_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"dataflare-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        return Path(tempfile.mkdtemp(prefix="dataflare-"))
    return folder


def same_user(sock: socket.socket) -> bool:
    """Is the other side of this user, or root's?"""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder and the socket are closed to others by their modes
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in (os.getuid(), 0)
