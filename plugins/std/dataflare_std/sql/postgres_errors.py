"""PostgreSQL's errors in our words: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dataflare import Failed, Retry

if TYPE_CHECKING:
    import psycopg

AGAIN = ("08", "57P", "40", "55P03", "53300", "53400", "57014", "25P03")
"""Beginnings of SQLSTATEs that pass: connection, shutdown, deadlock, lock timeout, too many connections, cancelled."""
KNOWN = {
    "23": ("sql.constraint", "refuses rows by a constraint", "correct the rows or the constraint"),
    "28": ("sql.cannot_open", "does not let this user in", "correct user and password of `uri`"),
    "3D000": ("sql.cannot_open", "has no such database", "make it, or correct `uri`"),
    "3F000": ("sql.failed", "has no such schema", "make it, or correct `table`"),
    "42804": ("sql.type_mismatch", "has a column of another type", "compute a value of its type with std/compute"),
    "42846": ("sql.type_mismatch", "has a column of another type", "compute a value of its type with std/compute"),
    "42501": (
        "sql.no_permission",
        "forbids it",
        "grant this user the rights: CREATE on the schema, and on the table all",
    ),
    "53100": ("sql.disk_full", "cannot grow: its disk is full", "make room and start the flow again"),
    "25006": ("sql.read_only", "may only be read", "write to the primary server"),
    "22": (
        "sql.bad_value",
        "cannot turn a value into its column's type",
        "correct the rows, or the type of the column",
    ),
}
CONSTRAINTS = {"23505": "sql.unique", "23502": "sql.not_null", "23503": "sql.foreign_key", "23514": "sql.check"}
REFUSALS = ("22", "23", "P0001", "44000")
"""SQLSTATEs that are about a row: values, constraints, triggers, views with a check."""
REFUSED_LOGIN = ("authentication failed", "no password supplied", "no pg_hba.conf entry")


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raises Retry for what passes (a lost connection, a lock), Failed (``sql.*``) for everything else."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise meant(place, error) from error


def meant(place: str, error: psycopg.Error) -> Failed | Retry:
    """What an error means for the flow."""
    import psycopg

    state, told = error.sqlstate or "", told_by(error)
    if not state and isinstance(error, psycopg.OperationalError):
        if any(word in told for word in REFUSED_LOGIN):
            state = "28"
        elif "does not exist" in told:
            state = "3D000"
        else:
            return Retry(None, f"{place} is out of reach: {told}")
    if state.startswith(AGAIN) and state not in KNOWN:
        return Retry(None, f"{place} asks to come again: {told}")
    fallback = ("sql.failed", "does not do what the sink asks for", "look at the cause")
    code, what, fix = KNOWN.get(state) or KNOWN.get(state[:2]) or fallback
    return Failed.of(code, f"{place} {what}", cause=told, fix=fix)


def is_refusal(error: psycopg.Error) -> bool:
    """Whether it is about a row."""
    return (error.sqlstate or "").startswith(REFUSALS)


def refusal(error: psycopg.Error) -> tuple[str, str]:
    """Code and message of a row that the table does not take."""
    state = error.sqlstate or ""
    code = CONSTRAINTS.get(state) or ("sql.bad_value" if state.startswith("22") else "sql.constraint")
    return code, told_by(error)


def told_by(error: psycopg.Error) -> str:
    """The message without the statement."""
    return (error.diag.message_primary or str(error) or type(error).__name__).strip()
