"""The command line in real processes, forked from one that has imported everything: fifty milliseconds instead of 500.

A forked process is as mortal as any other: it is killed, frozen and woken up by signals.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, reload
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError

LIBRARIES = ("pyarrow.compute", "pyarrow.ipc", "pyarrow.parquet", "pydantic", "polars", "duckdb", "psycopg", "httpx")
"""What runs import late, each where it is installed."""
WITHIN = 120.0


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (minus the signal that killed it), and what it said."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL

    @property
    def json(self) -> Any:
        """The last line of its output, where that is JSON, else None."""
        try:
            return json.loads(self.out.splitlines()[-1])
        except (ValueError, IndexError):
            return None


class Forked:
    """One command line under way: ``Forked(folder, "run", "flow.yaml", variables={"DATAFLARE_CRASH": "decided:2"})``.

    ``first`` is called in the process before anything else: a module's function, for limits, clocks and the like.
    """

    _number = 0

    def __init__(
        self,
        folder: Path,
        *words: str,
        variables: Mapping[str, str] | None = None,
        first: Callable[[], None] | None = None,
    ) -> None:
        Forked._number += 1
        self._said = folder / f".said-{os.getpid()}-{Forked._number}"
        self.folder = folder
        self._process: Any = _context().Process(
            target=_live, args=(words, str(folder), str(self._said), variables or {}, first), daemon=True
        )
        self._process.start()
        self.pid = int(self._process.pid)

    def end(self, within: float = WITHIN) -> Ended:
        """Wait for its end. Raises TimeoutError (and kills it) where that takes too long."""
        self._process.join(within)
        if self._process.exitcode is None:
            self.send(signal.SIGKILL)
            self._process.join()
            raise TimeoutError(f"process {self.pid} did not end within {within:g} s: {self.said()}")
        code = int(self._process.exitcode)
        self._process.close()
        out, err = self.said()
        for name in ("out", "err"):
            self._said.with_suffix(f".{name}").unlink(missing_ok=True)
        return Ended(code, out, err)

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def until_frozen(self, within: float = WITHIN) -> bool:
        """Wait until it is frozen (SIGSTOP); False where it ended instead."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            try:
                state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return False
            if state == "T":
                return True
            if state in "ZX" or self._process.exitcode is not None:
                return False
            time.sleep(0.005)
        raise TimeoutError(f"process {self.pid} is not frozen after {within:g} s: {self.said()}")

    def said(self) -> tuple[str, str]:
        """What it wrote so far to its output and its error output."""
        out, err = (self._said.with_suffix(f".{name}") for name in ("out", "err"))
        return (out.read_text() if out.exists() else ""), (err.read_text() if err.exists() else "")


def warm_up() -> None:
    """Import what runs import: the host, every component, the libraries they use late."""
    from contextlib import suppress

    for name in LIBRARIES:
        with suppress(ImportError):
            import_module(name)
    import_module("dataflare_host.cli.running")
    with import_module("dataflare_host").Host.start() as host:
        for entry in host.table().entries():
            with suppress(Exception):
                entry.load()


def _context() -> Any:
    try:
        import_module("dataflare_host")
    except ModuleNotFoundError as error:
        raise ConfigError.of(
            "testing.no_host", "flows are run by the host", cause=str(error), fix="pip install dataflare-host"
        ) from error
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dataflare.testing.warm"])
    return context


def _live(
    words: Sequence[str], folder: str, said: str, variables: Mapping[str, str], first: Callable[[], None] | None
) -> None:
    """In the new process."""
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(f"{said}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.update(variables)
    from dataflare import crash

    reload(crash)  # it has read the variables of the process that this one was forked from
    if first is not None:
        first()
    sys.exit(import_module("dataflare_host.cli").main(list(words)))
