"""A single text file as target.

An epoch's rows are staged in a hidden file beside it and appended at commit, at the offset that the token names. So a
reader never sees rows that are not decided, and a commit may come twice or be cut off in the middle. Where a frozen
owner was replaced, the file is copied and the copy gets its name: what that one has open is nobody's file any more. The
first epoch gets the file's name without a copy.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare import crash
from dataflare.context import Context
from dataflare_std.files import text_out
from dataflare_std.files.staging import Staged, sync_folder, write_failed
from dataflare_std.files.target_lock import TargetLock
from dataflare_std.files.targets import (
    Settings,
    Token,
    existing_rule,
    new_staged,
    not_empty,
    publish,
    staged_name,
    sweep,
    target_changed,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.split import Resume

_PIECE = 64 << 20


class OneFile:
    """Appends each decided epoch to one file of JSON lines or CSV."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.path = settings.path
        self._lock: TargetLock | None = None
        self._staged: Staged | None = None
        self._replace = False
        self._headed = False
        self._names: list[str] = []

    def open(self, ctx: Context, resume: Resume) -> None:
        """Take the lock, see that the file is as long as the last epoch left it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = TargetLock(self.path.with_name(f".{self.path.name}.lock"), self.path, ctx)
        token: Token | None = next(iter(resume.tokens.values()), None)
        size = self._size()
        if token is None:
            rule = existing_rule(resume)
            if size and rule is None:
                raise not_empty(self.path)
            self._replace = rule == "replace" and self.path.exists()
        else:
            self._check_length(token, size)
        if self._lock.displaced and self.path.exists():
            self._leave_to_former(ctx)
        live = {token["staged"]} if token and token["staged"] else set()
        sweep(self.path.parent, self.path.name, ctx, live)
        self._headed = bool(token["start"] + token["bytes"] if token else size and not self._replace)

    def begin(self) -> None:
        """Forget a staged file of an epoch that was not prepared."""
        if self._staged is not None:
            self._staged.drop()
            self._staged = None

    def write(self, rows: pa.RecordBatch, ctx: Context) -> None:
        """Stage rows."""
        self._names = rows.schema.names
        self._open_staged(ctx, ctx.epoch).write(rows)

    def prepare(self, epoch: int, last: bool, ctx: Context) -> Token:
        """Make the staged rows durable. The end of a flow without rows leaves an empty file."""
        start = 0 if self._replace else self._size()
        if self._replace or (last and not start and not self.path.exists()):
            self._open_staged(ctx, epoch)
        token: Token = {"staged": None, "start": start, "bytes": 0, "rows": 0, "replace": self._replace}
        staged, self._staged, self._replace = self._staged, None, False
        if staged is not None:
            staged.seal()
            self._headed = True
            token |= {"staged": staged.path.name, "bytes": staged.bytes, "rows": staged.rows}
        return token

    def commit(self, token: Token) -> None:
        """Append the epoch's bytes; nothing is left to do where they stand already."""
        assert self._lock is not None
        self._lock.check()
        if token["staged"] is None:
            return
        staged = self.path.with_name(token["staged"])
        try:
            self._publish(staged, token)
        except OSError as error:
            raise write_failed(error, self.path) from error

    def committed(self, tokens: list[Token]) -> None:
        """Nothing: the file is all there is."""

    def abort(self, tokens: list[Token]) -> None:
        """Throw away what is staged."""
        self.begin()
        self._headed = self._size() > 0
        for token in tokens:
            if token["staged"]:
                self.path.with_name(token["staged"]).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        self.begin()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _publish(self, staged: Path, token: Token) -> None:
        end = token["start"] + token["bytes"]
        if token["replace"]:
            if staged.exists():
                staged.replace(self.path)
                crash.point("sink-publish")
                sync_folder(self.path.parent)
        elif not token["start"] and not self.path.exists():
            publish(staged, self.path)
        elif self._size() < end or staged.exists():
            self._check_length(token, self._size())
            if not os.path.samefile(staged, self.path):
                self._append(staged, token["start"])
            staged.unlink()

    def _append(self, staged: Path, start: int) -> None:
        """Write a staged file's bytes at an offset of the target, and make them durable. Raises Fenced."""
        assert self._lock is not None
        with staged.open("rb") as source, self.path.open("r+b") as sink:
            self._lock.check()  # once open: a successor copies the file after it took the lock, so this one is ours
            _copy(source.fileno(), sink.fileno(), start)
            os.fsync(sink.fileno())
        self._lock.check()  # a successor may have copied too little, and needs what is staged

    def _leave_to_former(self, ctx: Context) -> None:
        """Leave the file to the frozen process that may have it open, and go on with a copy of the same name."""
        copy = self.path.with_name(staged_name(self.path.name, ctx, ctx.epoch, 1))
        shutil.copyfile(self.path, copy)
        shutil.copymode(self.path, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        copy.replace(self.path)
        sync_folder(self.path.parent)

    def _open_staged(self, ctx: Context, epoch: int) -> Staged:
        if self._staged is None:
            name = staged_name(self.path.name, ctx, epoch)
            self._staged = new_staged(self.settings, self.path.parent, name)
            if self.settings.form == "csv" and not self._headed and self._names:
                self._staged.append(text_out.csv_header(self._names, self.settings.delimiter))
        return self._staged

    def planned(self, names: list[str]) -> None:
        """The columns that come, for the header of a file without rows."""
        self._names = names

    def _check_length(self, token: Token, size: int) -> None:
        """A commit may have been cut off, so the file ends somewhere in the last epoch; anything else is not ours."""
        start, end = token["start"], token["start"] + token["bytes"]
        waiting = bool(token["staged"]) and self.path.with_name(token["staged"]).exists()
        if token["replace"] and waiting:
            return
        if size > end or size < (start if waiting else end):
            there = f"{size:,} bytes" if self.path.exists() else "nothing"
            raise target_changed(self.path, f"it held {end:,} bytes, now there is {there}")

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


def _copy(source: int, sink: int, start: int) -> None:
    done, size = 0, os.fstat(source).st_size
    piece = min(_PIECE, size // 2 + 1)
    while done < size:
        try:
            done += os.copy_file_range(source, sink, min(piece, size - done), done, start + done)
        except OSError:
            data = memoryview(os.pread(source, min(piece, size - done), done))
            while data:
                written = os.pwrite(sink, data, start + done)
                data, done = data[written:], done + written
        crash.point("sink-publish")
