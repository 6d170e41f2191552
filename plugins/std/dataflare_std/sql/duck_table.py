"""What a DuckDB table is like: its columns, what holds no value twice, and whether anything could refuse a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataflare import ConfigError
from dataflare_std.sql import statements
from dataflare_std.sql.shape import TableShape, key_index, key_not_unique
from dataflare_std.sql.statements import quoted, table_name
from dataflare_std.sql.target import Table

Rows = Callable[..., list[tuple[Any, ...]]]
HERE = "database_name = current_database() AND schema_name = coalesce(?, current_schema()) AND table_name = ?"


def shape_of(rows: Rows, table: Table) -> TableShape:
    """The table in the database; no columns if it is not there. Raises ConfigError (``sql.not_a_table``)."""
    place = _place(table)
    columns = rows(f"SELECT column_name, data_type, column_default FROM duckdb_columns() WHERE {HERE}", place)
    if columns and not rows(f"SELECT 1 FROM duckdb_tables() WHERE {HERE}", place):
        raise ConfigError.of(
            "sql.not_a_table",
            f"`{table.name}` is a view: it has no rows of its own",
            pointer="/table",
            fix="name a table",
        )
    found = rows(f"SELECT constraint_type, constraint_column_names FROM duckdb_constraints() WHERE {HERE}", place)
    unique = [tuple(names) for kind, names in found if kind in ("PRIMARY KEY", "UNIQUE")]
    indexes = rows(f"SELECT index_name FROM duckdb_indexes() WHERE is_unique AND {HERE}", place)
    ours = key_index(table)
    if table.key and (ours,) in indexes:
        unique.append(table.key)
    given = {name for name, _, default in columns if default is not None}
    required = frozenset(name for kind, names in found if kind == "NOT NULL" for name in names if name not in given)
    guarded = (
        any(kind in ("CHECK", "FOREIGN KEY") for kind, _ in found)
        or any(name != ours for (name,) in indexes)
        or any(set(index) != set(table.key) for index in unique)
        or bool(required.difference(table.key))
    )
    return TableShape({name: kind for name, kind, _ in columns}, unique, guarded, required)


def make_room(rows: Rows, table: Table, wanted: Mapping[str, str]) -> TableShape:
    """Make the table, add its missing columns and the index of its key; change nothing that is there.

    Raises ConfigError (``sql.not_a_table``), Failed (``sql.key_not_unique``).
    """
    name, shape = table_name(table.name), shape_of(rows, table)
    if not shape.columns:
        rows(statements.create_table(name, wanted, table.key))
        return shape_of(rows, table)
    known = {column.lower() for column in shape.columns}
    for column, kind in wanted.items():
        if column.lower() not in known:
            rows(f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {quoted(column)} {kind}")
    if table.key and not shape.is_unique(table.key):
        _make_key_index(rows, table)
    return shape_of(rows, table)


def _make_key_index(rows: Rows, table: Table) -> None:
    import duckdb

    name = quoted(key_index(table))
    try:
        rows(f"CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {table_name(table.name)} ({statements.names(table.key)})")
    except duckdb.ConstraintException as error:
        raise key_not_unique(table) from error


def _place(table: Table) -> tuple[str | None, str]:
    schema, dot, name = table.name.rpartition(".")
    return (schema, name) if dot else (None, table.name)
