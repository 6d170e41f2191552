"""Who may write to a target: a lock file, held as long as the sink is open."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from dataflare import crash
from dataflare.context import Context
from dataflare.errors import Failed, Fenced
from dataflare_std.files.staging import write_failed


class TargetLock:
    """Holds the lock file of a target from creation to ``release``.

    A flow that lost its lease may still hold it (a frozen process): the same step with a newer fencing token then puts
    a lock file of its own in that place, and the old holder finds out before it publishes anything. Raises Failed
    (``sink.in_use``) where another flow holds it.
    """

    def __init__(self, path: Path, target: Path, ctx: Context) -> None:
        self.path = path
        self.displaced = False
        """Whether an older owner still holds the lock that stood here: a frozen process, with the target open maybe."""
        self._target = target
        self._owner = {"flow": ctx.flow, "step": ctx.step, "fence": ctx.fence, "process": os.getpid()}
        try:
            self._file = self._take()
        except OSError as error:
            raise write_failed(error, path) from error

    def check(self) -> None:
        """Raises Fenced if a newer owner has taken the target."""
        if not self._is_mine(self._file):
            raise Fenced.of(
                "sink.fenced", f"a newer run of this flow writes to `{self._target}`", fix="nothing: this run has ended"
            )

    def release(self) -> None:
        """Let others have the target."""
        if self._is_mine(self._file):
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def _take(self) -> int:
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _read(file)
                os.close(file)
                if not self._outranks(holder):
                    raise self._in_use(holder) from None
                return self._displace()
            if self._is_mine(file):
                self._sign(file)
                return file
            os.close(file)

    def _outranks(self, holder: dict[str, Any]) -> bool:
        same = all(holder.get(key) == self._owner[key] for key in ("flow", "step"))
        fence, mine = int(holder.get("fence", 0)), int(str(self._owner["fence"]))
        return same and (mine > fence or (mine == fence and holder.get("process") == self._owner["process"]))

    def _displace(self) -> int:
        new = self.path.with_name(f"{self.path.name}.{self._owner['fence']}-{os.getpid()}")
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._sign(file)
        crash.point("sink-takeover")
        new.replace(self.path)
        self.displaced = True
        return file

    def _sign(self, file: int) -> None:
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(self._owner).encode(), 0)

    def _is_mine(self, file: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(file))
        except FileNotFoundError:
            return False

    def _in_use(self, holder: dict[str, Any]) -> Failed:
        return Failed.of(
            "sink.in_use",
            f"another flow writes to `{self._target}`",
            cause=f"`{holder.get('step')}` of the flow `{holder.get('flow')}`, process {holder.get('process')}",
            fix="stop it, or choose another `path`",
        )


def _read(file: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
