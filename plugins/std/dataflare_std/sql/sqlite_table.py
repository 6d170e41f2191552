"""What a SQLite table is like: its columns, its key, and whether anything in it could refuse a row."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping

from dataflare import ConfigError
from dataflare_std.sql import statements
from dataflare_std.sql.shape import TableShape, key_not_unique
from dataflare_std.sql.statements import quoted
from dataflare_std.sql.target import Table

GUARDED = re.compile(r"\b(CHECK|REFERENCES|STRICT)\b", re.IGNORECASE)


def shape_of(connection: sqlite3.Connection, table: Table) -> TableShape:
    """The table in the database; no columns if it is not there."""
    columns = list(connection.execute(f"PRAGMA table_info({quoted(table.name)})"))
    unique, partial = _unique_indexes(connection, table.name)
    primary = tuple(name for rank, name in sorted((pk, name) for _, name, _, _, _, pk in columns if pk))
    if primary and primary not in unique:
        unique.append(primary)
    others = [index for index in unique if set(index) != set(table.key)]
    required = any(notnull for _, name, _, notnull, _, _ in columns if name not in table.key)
    guarded = partial or bool(others) or required or _has_checks(connection, table.name)
    return TableShape({name: kind for _, name, kind, _, _, _ in columns}, unique, guarded)


def missing(shape: TableShape, wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of the wanted columns that a table does not have (names in SQLite know no case)."""
    known = {name.lower() for name in shape.columns}
    return {name: kind for name, kind in wanted.items() if name.lower() not in known}


def types_of(shape: TableShape, names: Iterable[str]) -> dict[str, str]:
    """The declared types of these columns."""
    known = {name.lower(): kind for name, kind in shape.columns.items()}
    return {name: known[name.lower()] for name in names}


def make_room(connection: sqlite3.Connection, table: Table, wanted: Mapping[str, str]) -> TableShape:
    """Make the table, add its missing columns and the index of its key; change nothing that is there.

    Raises ConfigError (``sql.not_a_table``), Failed (``sql.key_not_unique``).
    """
    shape = shape_of(connection, table)
    if not shape.columns:
        connection.execute(statements.create_table(quoted(table.name), wanted, table.key))
        return shape_of(connection, table)
    if _kind(connection, table.name) != "table":
        raise ConfigError.of(
            "sql.not_a_table",
            f"`{table.name}` is a view: it has no rows of its own",
            pointer="/table",
            fix="name a table",
        )
    for name, kind in missing(shape, wanted).items():
        connection.execute(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {quoted(name)} {kind}")
    if table.key and not shape.is_unique(table.key):
        _make_key_index(connection, table)
    return shape_of(connection, table)


def _make_key_index(connection: sqlite3.Connection, table: Table) -> None:
    index = quoted(f"dataflare_key_{table.name}")
    try:
        connection.execute(f"CREATE UNIQUE INDEX {index} ON {quoted(table.name)} ({statements.names(table.key)})")
    except sqlite3.IntegrityError as error:
        raise key_not_unique(table) from error


def _unique_indexes(connection: sqlite3.Connection, table: str) -> tuple[list[tuple[str, ...]], bool]:
    """The columns of each unique index, and whether there are some over expressions or a part of the rows."""
    found, others = [], False
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({quoted(table)})"):
        columns = [name for _, _, name in connection.execute(f"PRAGMA index_info({quoted(index)})")]
        if unique and not partial and all(columns):
            found.append(tuple(columns))
        elif unique:
            others = True
    return found, others


def _has_checks(connection: sqlite3.Connection, table: str) -> bool:
    triggers = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,))
    text = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
    return triggers.fetchone() is not None or (text is not None and GUARDED.search(text[0]) is not None)


def _kind(connection: sqlite3.Connection, name: str) -> str | None:
    found = connection.execute("SELECT type FROM sqlite_master WHERE lower(name) = lower(?)", (name,)).fetchone()
    return found[0] if found else None
