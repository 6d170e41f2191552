"""Which files a path stands for, and how a file is recognised again."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflare.context import Context
from dataflare.errors import ConfigError, Failed

FORMATS = ("jsonl", "csv", "parquet")
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
HEAD = 4096


@dataclass(frozen=True)
class Listed:
    """A file to read: ``name`` is its path as split ids show it, relative to the flow's folder where it lies below."""

    name: str
    path: Path
    size: int


def list_files(paths: Sequence[str], ctx: Context, known: frozenset[str] = frozenset(FORMATS)) -> list[Listed]:
    """The files of the configured paths, each once, by name. Hidden ones in folders and globs are left out.

    Raises ConfigError: ``files.missing``, ``files.unreadable``.
    """
    found: dict[str, Listed] = {}
    if not paths or not all(paths):
        raise _missing("`path` names no file")
    for given in paths:
        try:
            paths_found = _expand(given, ctx)
        except OSError as error:
            raise unreadable(ctx.path(given), str(error)) from error
        for path in paths_found:
            name = _name_of(path, ctx.base)
            found[name] = Listed(name, path, _size(path))
    return [found[name] for name in sorted(found)]


def format_of(path: str | Path, given: str | None) -> str:
    """The format of a file: the one given, else by its suffix. Raises ConfigError (``files.format_unknown``)."""
    if given:
        return given
    suffix = Path(path).suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    raise ConfigError.of(
        "files.format_unknown",
        f"the format of `{path}` cannot be told from its name",
        pointer="/format",
        fix=f"write `format: {FORMATS[0]}` ({', '.join(FORMATS)})",
    )


def _expand(given: str, ctx: Context) -> list[Path]:
    path = ctx.path(given)
    if path.is_dir():
        _readable_folder(path)
        return [item for item in path.iterdir() if item.suffix.lower() in SUFFIXES and _plain(item)]
    if glob.has_magic(given):
        _readable_folder(next(folder for folder in path.parents if not glob.has_magic(str(folder))))
        return [item for item in map(Path, glob.glob(str(path), recursive=True)) if _plain(item)]
    if not path.exists():
        cause = f"the folder `{path.parent}` {'has no such entry' if path.parent.is_dir() else 'does not exist'}"
        raise _missing(f"there is no file `{path}`", cause)
    if not path.is_file():
        raise unreadable(path, "it is no file with bytes that can be read again, but a pipe or a device")
    return [path]


def _missing(message: str, cause: str | None = None) -> ConfigError:
    fix = "correct `path`; relative paths start at the flow file's folder"
    return ConfigError.of("files.missing", message, pointer="/path", cause=cause, fix=fix)


def _plain(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "_"))


def _readable_folder(path: Path) -> None:
    if not path.exists():
        raise _missing(f"there is no folder `{path}`")
    if not os.access(path, os.R_OK | os.X_OK):
        raise unreadable(path, "the folder cannot be listed")


def unreadable(path: Path, cause: str) -> ConfigError:
    """The error for something that this user may not read."""
    return ConfigError.of(
        "files.unreadable",
        f"`{path}` cannot be read",
        pointer="/path",
        cause=cause,
        fix="give this user the right to read it, or correct `path`",
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, str(error)) from error


def _name_of(path: Path, base: Path) -> str:
    absolute, start = os.path.abspath(path), os.path.abspath(base)
    inside = os.path.commonpath([absolute, start]) == start
    return os.path.relpath(absolute, start).replace(os.sep, "/") if inside else absolute


def fingerprint(file: int) -> dict[str, Any]:
    """What a file is recognised by: the hash of its first bytes and how many these were (at most 4 KiB)."""
    head = os.pread(file, HEAD, 0)
    return {"head": len(head), "hash": _hash(head)}


def _hash(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()


def verify(file: int, name: str, seen: dict[str, Any], needed: int) -> None:
    """Raises Failed (``source.split_changed``) unless the file begins as it did and still has ``needed`` bytes."""
    size = os.fstat(file).st_size
    if size < needed:
        raise changed(name, f"it has shrunk to {size:,} bytes; {needed:,} were there before")
    if seen and _hash(os.pread(file, seen["head"], 0)) != seen["hash"]:
        raise changed(name, "it begins with other bytes than before: it was replaced or rewritten")


def changed(name: str, cause: str) -> Failed:
    """The error for a file that is not what it was when its reading began."""
    return Failed.of(
        "source.split_changed",
        f"`{name}` is not the file that was being read",
        cause=cause,
        fix="put the former file back, or start again with --from-start",
        details={"file": name},
    )


def open_file(path: Path, name: str) -> int:
    """A descriptor for reading. Raises Failed: ``source.split_changed`` if it is gone, else ``files.unreadable``."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise changed(name, "it is no longer there") from error
    except OSError as error:
        raise Failed(unreadable(path, str(error)).problems[0].at()) from error
