"""The file of a database: its address, and whether a sink can work with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataflare import ConfigError, Context, Problem
from dataflare_std.sql.databases import unknown_address
from dataflare_std.sql.target import Table


@dataclass(frozen=True)
class FileKind:
    """A kind of database in one file: its name, what its files begin with (from ``offset`` on), reserved names."""

    name: str
    magic: bytes
    offset: int
    reserved: tuple[str, ...]


def database_path(uri: str, ctx: Context) -> Path:
    """The file of an address such as ``sqlite:///out/shop.db``. Raises ConfigError (``sql.uri``)."""
    rest = uri.partition("://")[2]
    if not rest.startswith("/") or len(rest) < 2 or rest == "/:memory:":
        raise unknown_address("no file is named behind `:///`")
    return ctx.path(rest[1:])


def check_address(uri: str, table: Table, kind: FileKind, ctx: Context) -> Iterator[Problem]:
    """What is wrong with address and table by themselves."""
    try:
        database_path(uri, ctx)
    except ConfigError as error:
        yield from error.problems
    if table.name.lower().startswith(kind.reserved):
        yield Problem(
            "sql.reserved_table", f"the name `{table.name}` is reserved", pointer="/table", fix="use another name"
        )


def check_database(path: Path, kind: FileKind) -> Iterator[Problem]:
    """What would keep a sink from working with this file; changes nothing."""
    if not path.parent.is_dir():
        yield Problem(
            "sql.no_folder",
            f"there is no folder {path.parent}",
            pointer="/uri",
            fix=f"make it: `mkdir -p {path.parent}`",
        )
    elif path.is_dir():
        yield Problem("sql.cannot_open", f"{path} is a folder", pointer="/uri", fix="name a file in it")
    elif path.exists():
        yield from _check_file(path, kind)


def _check_file(path: Path, kind: FileKind) -> Iterator[Problem]:
    try:
        with path.open("r+b") as file:
            head = file.read(kind.offset + len(kind.magic))
    except OSError as error:
        yield Problem(
            "sql.cannot_open",
            f"the database {path} may not be read and written",
            pointer="/uri",
            cause=str(error),
            fix="give this user the right to read and write it",
        )
        return
    if head and head[kind.offset :] != kind.magic:
        message = f"{path} is not a {kind.name} database"
        yield Problem("sql.not_a_database", message, pointer="/uri", fix="name another file")
