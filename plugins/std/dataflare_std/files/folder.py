"""A folder as target: each epoch's rows become one or more files, staged under hidden names, published by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.context import Context
from dataflare_std.files import text_out
from dataflare_std.files.listing import SUFFIXES
from dataflare_std.files.staging import Staged, sync_folder, write_failed
from dataflare_std.files.target_lock import TargetLock
from dataflare_std.files.targets import (
    Settings,
    Token,
    existing_rule,
    new_staged,
    not_empty,
    publish,
    safe,
    staged_name,
    sweep,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.split import Resume

TARGET = "part"


class Folder:
    """Publishes each decided epoch as files of a folder; nothing published is ever overwritten."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.path = settings.path
        self._lock: TargetLock | None = None
        self._staged: list[tuple[str, Staged]] = []
        self._filling: dict[str, Staged] = {}
        self._replace = False

    def open(self, ctx: Context, resume: Resume) -> None:
        """Take the lane's lock; see what is there, if nothing was written yet."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = TargetLock(self.path / f".lane-{ctx.lane}.lock", self.path, ctx)
        if not resume.epoch and not resume.tokens and self._published():
            rule = existing_rule(resume)
            if rule is None:
                raise not_empty(self.path)
            self._replace = rule == "replace"
        sweep(self.path, TARGET, ctx, self._live(resume))

    def begin(self) -> None:
        """Forget staged files of an epoch that was not prepared."""
        for _, staged in self._staged:
            staged.drop()
        self._staged, self._filling = [], {}

    def write(self, rows: pa.RecordBatch, ctx: Context) -> None:
        """Stage rows; a full file is followed by the next one."""
        for folder, part in self._parts(rows):
            self._write_part(folder, part, ctx)

    def prepare(self, epoch: int, last: bool, ctx: Context) -> Token:
        """Make the staged files durable."""
        files = []
        staged, self._staged, self._filling = self._staged, [], {}
        for number, (folder, item) in enumerate(staged):
            item.seal()
            final = Path(folder, self._final(ctx, epoch, number))
            files.append([item.path.name, str(final), item.rows])
        token = {
            "files": files,
            "rows": sum(item.rows for _, item in staged),
            "bytes": sum(item.bytes for _, item in staged),
            "keep": ctx.incarnation[:8] if self._replace else None,
            "mark": safe(f"-{ctx.flow}-{ctx.step}-"),
        }
        self._replace = False
        return token

    def commit(self, token: Token) -> None:
        """Give the staged files their names."""
        self._check()
        try:
            if token["keep"] is not None:
                self._remove_others(token["keep"], token["mark"])
            for staged, final, *_ in token["files"]:
                self._make_folder((self.path / final).parent)
                publish(self.path / staged, self.path / final)
        except OSError as error:
            raise write_failed(error, self.path) from error

    def abort(self, tokens: list[Token]) -> None:
        """Throw away what is staged."""
        self.begin()
        for token in tokens:
            for staged, *_ in token["files"]:
                (self.path / staged).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the folder."""
        self.begin()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def planned(self, names: list[str]) -> None:
        """Nothing: a file without rows is not made."""

    def committed(self, tokens: list[Token]) -> None:
        """Nothing: the names are all there is."""

    def _live(self, resume: Resume) -> set[str]:
        """The staged files that tokens still name."""
        return {name for token in resume.tokens.values() for name, *_ in token["files"]}

    def _check(self) -> None:
        assert self._lock is not None
        self._lock.check()

    def _parts(self, rows: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The subfolders that rows go to."""
        yield "", rows

    def _write_part(self, folder: str, rows: pa.RecordBatch, ctx: Context) -> None:
        limit, size = self.settings.roll_rows, self.settings.roll_bytes
        offset = 0
        while offset < rows.num_rows:
            current = self._current(folder, rows, ctx)
            part = rows.slice(offset, rows.num_rows if limit is None else limit - current.rows)
            current.write(part)
            offset += part.num_rows
            if (limit is not None and current.rows >= limit) or (size is not None and current.bytes >= size):
                del self._filling[folder]

    def _current(self, folder: str, rows: pa.RecordBatch, ctx: Context) -> Staged:
        """The file that is being filled for a subfolder."""
        if folder not in self._filling:
            name = staged_name(TARGET, ctx, ctx.epoch, len(self._staged))
            staged = self._filling[folder] = new_staged(self.settings, self.path, name)
            self._staged.append((folder, staged))
            if self.settings.form == "csv":
                staged.append(text_out.csv_header(rows.schema.names, self.settings.delimiter))
        return self._filling[folder]

    def _make_folder(self, folder: Path) -> None:
        """Make a subfolder, durably."""
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)

    def _final(self, ctx: Context, epoch: int, number: int) -> str:
        return f"{safe(ctx.name(epoch))}-{number}.{self.settings.form}"

    def _published(self) -> list[Path]:
        return [item for item in self.path.iterdir() if item.suffix in SUFFIXES and not item.name.startswith(".")]

    def _remove_others(self, keep: str, mark: str) -> None:
        """Remove what earlier incarnations of this step published here."""
        for item in self._published():
            if mark in item.name and not item.name.startswith(keep):
                item.unlink(missing_ok=True)
        sync_folder(self.path)
