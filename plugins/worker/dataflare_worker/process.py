"""One process of a guest: started in a private folder with a scrubbed environment, ended with all that it started."""

from __future__ import annotations

import fcntl
import os
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dataflare.guest import MEMORY_EXIT
from dataflare.guest.channel import Channel, Wait
from dataflare.guest.shared import SHARED_FROM, Inbox, Outbox, memory_file
from dataflare.hosting.transport import Loss
from dataflare_worker.guard import MARK
from dataflare_worker.guarded import GUARD, STARTER
from dataflare_worker.output import Output

_PIPE = 1 << 20
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)
_PASSED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TZDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of the host that a guest sees."""
_MEMORY = {"MIMALLOC_ARENA_RESERVE": str(64 << 10)}
"""Arrow's allocator takes as many KiB at once; its usual GiB would use up a bound before anything is in it."""
_CLOSING = 2.0
_TERMINATING = 1.0


@dataclass(frozen=True)
class Launch:
    """How the guests of one plugin are started.

    ``targets`` are modules or ``module:object``, found in ``path``; ``memory`` is what a guest may have beyond its own
    size, ``environment`` are variables that it sees, ``output_ratio`` the bytes that it may answer to each byte of a
    request, ``shared_from`` the bytes from which on a part is shared (None: all goes through the pipes).
    """

    plugin: str
    python: Path
    targets: Sequence[str]
    path: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    output_ratio: float | None = None
    shared_from: int | None = SHARED_FROM


class Process:
    """A running guest. Thread-safe, but for its channel."""

    def __init__(self, launch: Launch, wait: Wait) -> None:
        self.plugin = launch.plugin
        self._mark = secrets.token_hex(16)
        self._folder = Path(tempfile.mkdtemp(prefix="dataflare-guest-"))
        self._turn = threading.Lock()
        self._open: list[int] = []
        try:
            self._start(launch, wait)
        except BaseException:
            self._close_all()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _start(self, launch: Launch, wait: Wait) -> None:
        theirs_in, requests = self._pipe(_PIPE)
        answers, theirs_out = self._pipe(_PIPE)
        errors, theirs_err = self._pipe()
        theirs_control, _ = self._pipe()
        passed, words, inbox, outbox = [theirs_control], [], None, None
        if launch.shared_from is not None:
            ours, theirs = (self._kept(memory_file(f"dataflare-{side}")) for side in ("host", "guest"))
            passed += [ours, theirs]
            words = ["--shared", f"{ours},{theirs}", "--shared-from", str(launch.shared_from)]
            inbox, outbox = Inbox(theirs, copies=True), Outbox(ours, launch.shared_from)
        if launch.memory is not None:
            words += ["--memory", str(launch.memory)]
        for folder in launch.path:
            words += ["--path", str(folder)]
        words += ["--control", str(theirs_control), "--parent", str(os.getpid()), *launch.targets]
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        home = str(self._folder)
        environment |= {**_MEMORY, **launch.environment, "HOME": home, "TMPDIR": home, MARK[:-1].decode(): self._mark}
        self._process = STARTER.call(
            lambda: subprocess.Popen(
                [str(launch.python), "-I", "-m", "dataflare.guest", *words],
                stdin=theirs_in,
                stdout=theirs_out,
                stderr=theirs_err,
                cwd=home,
                env=environment,
                pass_fds=passed,
                start_new_session=True,
            )
        )
        GUARD.started(self._process.pid, self._mark, self._folder)
        for descriptor in (theirs_in, theirs_out, theirs_err, theirs_control):
            self._close(descriptor)
        for descriptor in (requests, answers):
            os.set_blocking(descriptor, False)
        self._requests = requests
        self.ended = self._kept(os.pidfd_open(self._process.pid)) if hasattr(os, "pidfd_open") else None
        """A descriptor that can be read once the process has ended, where the system has that."""
        self._open.remove(errors)
        self.output = Output(errors, self.plugin)
        self.channel = Channel(answers, requests, inbox, outbox, wait)

    @property
    def pid(self) -> int:
        """Its process number, which is its group's too."""
        return self._process.pid

    def memory(self) -> int | None:
        """Bytes that it has to itself; None where the system does not tell."""
        try:
            resident, shared = Path(f"/proc/{self.pid}/statm").read_text().split()[1:3]
        except OSError:
            return None
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")

    def has_ended(self, within: float = 0) -> bool:
        """Whether it runs no more, or does not within so many seconds."""
        return self._ended_within(within)

    def how_it_ended(self) -> tuple[Loss, str]:
        """A code and a cause, of a guest that has ended or is about to."""
        if not self._ended_within(_TERMINATING):
            return "guest.exited", "it closed its pipe"
        status = self._status()
        if status == MEMORY_EXIT:
            return "guest.memory", "it had no memory left"
        if status is None or status >= 0:
            return "guest.exited", f"it ended with exit status {status}"
        return "guest.exited", f"it was ended by {_signal(-status)}"

    def kill(self) -> None:
        """End it now, and all processes that it started."""
        with self._turn:
            if self._process.returncode is None:
                self._signal(signal.SIGTERM)
                if not self._ended_within(_TERMINATING):
                    self._signal(signal.SIGKILL)
            self._reap()

    def close(self) -> None:
        """End it: it is asked to by the end of its input, then told to. Removes what is left of it."""
        with self._turn:
            if self._requests in self._open:
                self._close(self._requests)
            waiting = self._process.returncode is None
        if waiting and not self._ended_within(_CLOSING):
            self.kill()
        with self._turn:
            self._reap()
            self._close_all()
        GUARD.ended(self._mark)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _reap(self) -> None:
        """Kill its group and read its exit status, in this order: until it is read, the group's number is its own."""
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _ended_within(self, seconds: float) -> bool:
        if self.ended is not None:
            polled = select.poll()
            polled.register(self.ended, select.POLLIN)
            return bool(polled.poll(seconds * 1000))
        until = time.monotonic() + seconds
        while (status := self._status()) is None and time.monotonic() < until:
            time.sleep(0.01)
        return status is not None

    def _status(self) -> int | None:
        """The exit status, or less than zero a signal; None while it runs."""
        if self._process.returncode is not None or not hasattr(os, "waitid"):
            return self._process.poll()
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return self._process.wait()  # another thread reads it in this moment
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _pipe(self, size: int | None = None) -> tuple[int, int]:
        reading, writing = os.pipe()
        self._open += [reading, writing]
        if size is not None and _SET_PIPE_SIZE is not None:
            with suppress(OSError):
                fcntl.fcntl(writing, _SET_PIPE_SIZE, size)
        return reading, writing

    def _kept(self, descriptor: int) -> int:
        self._open.append(descriptor)
        return descriptor

    def _close(self, descriptor: int) -> None:
        self._open.remove(descriptor)
        os.close(descriptor)

    def _close_all(self) -> None:
        for descriptor in list(self._open):
            self._close(descriptor)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
