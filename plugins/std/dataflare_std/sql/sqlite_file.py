"""The file of a SQLite database: its address, and whether a sink can work with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataflare import Context, Problem
from dataflare_std.sql.databases import unknown_address
from dataflare_std.sql.target import Table

MAGIC = b"SQLite format 3\x00"


def database_path(uri: str, ctx: Context) -> Path:
    """The file of an address such as ``sqlite:///out/shop.db``. Raises ConfigError (``sql.uri``)."""
    rest = uri.partition("://")[2]
    if not rest.startswith("/") or len(rest) < 2 or rest == "/:memory:":
        raise unknown_address("no file is named behind `:///`")
    return ctx.path(rest[1:])


def check_table(table: Table) -> Iterator[Problem]:
    """What is wrong with the name of a table."""
    if table.name.lower().startswith(("dataflare_", "sqlite_")):
        yield Problem(
            "sql.reserved_table", f"the name `{table.name}` is reserved", pointer="/table", fix="use another name"
        )


def check_database(path: Path) -> Iterator[Problem]:
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
        yield from _check_file(path)


def _check_file(path: Path) -> Iterator[Problem]:
    try:
        with path.open("r+b") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        yield Problem(
            "sql.cannot_open",
            f"the database {path} may not be read and written",
            pointer="/uri",
            cause=str(error),
            fix="give this user the right to read and write it",
        )
        return
    if head and head != MAGIC:
        yield Problem("sql.not_a_database", f"{path} is not a SQLite database", pointer="/uri", fix="name another file")
