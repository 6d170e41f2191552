"""DuckDB's errors in our words: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare import Failed

if TYPE_CHECKING:
    import duckdb

LOCKED = "Could not set lock on file"
KNOWN = (
    ("No space left on device", "sql.disk_full", "cannot grow: the disk is full", "make room and start the flow again"),
    ("Permission denied", "sql.no_permission", "may not be used", "give this user the right to read and write it"),
    ("not a valid DuckDB", "sql.not_a_database", "is not a DuckDB database", "name another file"),
    ("different configuration", "sql.cannot_open", "is open in this process in another way", "close it there"),
    ("Cannot open file", "sql.cannot_open", "cannot be opened", "make its folder, and see that it may be written to"),
)
CONSTRAINTS = (
    ("NOT NULL", "sql.not_null"),
    ("uplicate key", "sql.unique"),
    ("CHECK", "sql.check"),
    ("foreign key", "sql.foreign_key"),
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raises Failed (``sql.*``) for what DuckDB reports; of the kind ``retry`` where another process has the file."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise failed(path, error) from error


def failed(path: Path, error: duckdb.Error) -> Failed:
    """What an error means for the flow."""
    import duckdb

    told = told_by(error)
    if LOCKED in told:
        return Failed.of(
            "sql.locked",
            f"another process has the database {path} open",
            kind="retry",
            cause=told.partition("See also")[0].strip(),
            fix="close it there: only one process at a time can open a DuckDB file, even to read it",
        )
    for words, code, what, fix in KNOWN:
        if words in told:
            return Failed.of(code, f"the database {path} {what}", cause=told, fix=fix)
    if isinstance(error, duckdb.ConstraintException):
        fix = "correct the rows or the constraint"
        return Failed.of("sql.constraint", f"the database {path} refuses rows by a constraint", cause=told, fix=fix)
    message = f"the database {path} does not do what the sink asks for"
    return Failed.of("sql.failed", message, cause=told, fix="look at the cause")


def is_refusal(error: duckdb.Error) -> bool:
    """Whether it is about a row."""
    import duckdb

    return isinstance(error, (duckdb.ConstraintException, duckdb.ConversionException, duckdb.OutOfRangeException))


def refusal(error: duckdb.Error) -> tuple[str, str]:
    """Code and message of a row that the table does not take."""
    import duckdb

    told = told_by(error)
    if not isinstance(error, duckdb.ConstraintException):
        return "sql.bad_value", told
    return next((code for words, code in CONSTRAINTS if words in told), "sql.constraint"), told


def told_by(error: duckdb.Error) -> str:
    """The message without the statement."""
    return str(error).partition("\n\nLINE ")[0].strip()
