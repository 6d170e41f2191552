"""What a PostgreSQL table is like: its columns, its unique indexes, and whether anything in it could refuse a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflare import ConfigError
from dataflare_std.sql import statements
from dataflare_std.sql.shape import TableShape, key_index, key_not_unique
from dataflare_std.sql.statements import quoted, table_name
from dataflare_std.sql.target import Table

Rows = Callable[..., list[tuple[Any, ...]]]

RELATION = """
SELECT c.relkind, c.relkind = 'p' OR c.relrowsecurity OR c.relhasrules
    OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype IN ('c', 'f', 'x'))
    OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal AND tgenabled <> 'D')
FROM pg_class c WHERE c.oid = to_regclass(?)
"""
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, NULL), t.typtype = 'd',
    a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(?) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
UNIQUE = """
SELECT array_agg(a.attname::text ORDER BY k.n),
    bool_or(a.attname IS NULL) OR i.indpred IS NOT NULL OR NOT i.indimmediate
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
WHERE i.indrelid = to_regclass(?) AND i.indisunique AND i.indisvalid AND k.n <= i.indnkeyatts
GROUP BY i.indexrelid, i.indpred, i.indimmediate
"""


@dataclass
class PostgresShape(TableShape):
    """Also the columns' types without their limits."""

    plain: dict[str, str] = field(default_factory=dict)


def shape_of(rows: Rows, table: Table) -> PostgresShape:
    """The table in the database; no columns if it is not there. Raises ConfigError (``sql.not_a_table``)."""
    name = table_name(table.name)
    relation = rows(RELATION, (name,))
    if not relation:
        return PostgresShape()
    kind, guarded = relation[0]
    if kind not in ("r", "p"):
        raise ConfigError.of(
            "sql.not_a_table",
            f"`{table.name}` is no table with rows of its own",
            pointer="/table",
            fix="name a table",
        )
    columns = rows(COLUMNS, (name,))
    indexes = rows(UNIQUE, (name,))
    unique = [tuple(each) for each, others in indexes if not others]
    required = frozenset(column for column, _, _, _, must in columns if must)
    guarded = (
        guarded
        or any(others for _, others in indexes)
        or any(set(index) != set(table.key) for index in unique)
        or any(domain for _, _, _, domain, _ in columns)
        or bool(required.difference(table.key))
    )
    kinds = {column: limited for column, limited, _, _, _ in columns}
    plain = {column: kind for column, _, kind, _, _ in columns}
    return PostgresShape(kinds, unique, guarded, required, plain)


def make_room(rows: Rows, table: Table, wanted: Mapping[str, str]) -> PostgresShape:
    """Make the table, add its missing columns and the index of its key; change nothing that is there.

    Raises ConfigError (``sql.not_a_table``), Failed (``sql.key_not_unique``).
    """
    name, shape = table_name(table.name), shape_of(rows, table)
    if not shape.columns:
        rows(statements.create_table(name, wanted, table.key))
        return shape_of(rows, table)
    for column, kind in wanted.items():
        if column not in shape.columns:
            rows(f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {quoted(column)} {kind}")
    if table.key and not shape.is_unique(table.key):
        _make_key_index(rows, table)
    return shape_of(rows, table)


def missing_rights(rows: Rows, table: Table) -> list[str]:
    """The rights that a sink needs on its table and this user does not have."""
    rights: Sequence[str] = ("SELECT", "INSERT", "UPDATE", "DELETE") if table.key else ("SELECT", "INSERT")
    given = rows(
        f"SELECT {', '.join(f'has_table_privilege(to_regclass(?), {right!r})' for right in rights)}",
        [table_name(table.name)] * len(rights),
    )[0]
    return [right for right, has in zip(rights, given, strict=True) if has is False]


def _make_key_index(rows: Rows, table: Table) -> None:
    from psycopg.errors import UniqueViolation

    index = quoted(key_index(table))
    try:
        rows(f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table_name(table.name)} ({statements.names(table.key)})")
    except UniqueViolation as error:
        raise key_not_unique(table) from error
