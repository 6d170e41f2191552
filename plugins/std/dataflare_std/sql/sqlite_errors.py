"""SQLite's errors in our words: what happened, and what to do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataflare import Failed, Retry

UNKNOWN = "change the rows or the table, for example with std/select before the sink"
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
KNOWN = {
    sqlite3.SQLITE_CANTOPEN: (
        "sql.cannot_open",
        "cannot be opened",
        "make its folder, and see that it may be written to",
    ),
    sqlite3.SQLITE_NOTADB: ("sql.not_a_database", "is not a SQLite database", "name another file"),
    sqlite3.SQLITE_CORRUPT: (
        "sql.corrupt",
        "is damaged",
        "restore it from a backup, or recover it with `sqlite3 FILE .recover`",
    ),
    sqlite3.SQLITE_FULL: ("sql.disk_full", "cannot grow: the disk is full", "make room and start the flow again"),
    sqlite3.SQLITE_READONLY: (
        "sql.read_only",
        "may only be read",
        "give this user the right to write the file and its folder",
    ),
    sqlite3.SQLITE_PERM: (
        "sql.no_permission",
        "may not be used",
        "give this user the right to read and write the file",
    ),
    sqlite3.SQLITE_IOERR: ("sql.io", "cannot be read or written", "look at the disk"),
    sqlite3.SQLITE_CONSTRAINT: ("sql.constraint", "refuses rows by a constraint", "correct the rows or the constraint"),
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raises Retry for a locked database, Failed (``sql.*``) for everything else that SQLite reports."""
    try:
        yield
    except sqlite3.Error as error:
        if primary(error) in BUSY:
            raise Retry(0.2, f"the database {path} is locked by another process") from error
        raise failed(path, error) from error


def failed(path: Path, error: sqlite3.Error) -> Failed:
    """What a SQLite error means for the flow."""
    code, what, fix = KNOWN.get(primary(error), ("sql.failed", "does not do what the sink asks for", UNKNOWN))
    return Failed.of(code, f"the database {path} {what}", cause=str(error), fix=fix)


def primary(error: sqlite3.Error) -> int:
    """The primary result code, 0 if there is none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def constraint(error: sqlite3.IntegrityError) -> tuple[str, str]:
    """Code and message of a broken constraint."""
    name = getattr(error, "sqlite_errorname", "") or ""
    word = name.removeprefix("SQLITE_CONSTRAINT").strip("_").lower()
    code = {
        "unique": "unique",
        "primarykey": "unique",
        "rowid": "unique",
        "notnull": "not_null",
        "foreignkey": "foreign_key",
    }
    return f"sql.{code.get(word, word) or 'constraint'}", str(error)
