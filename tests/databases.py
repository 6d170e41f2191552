"""Databases that the SQL sink is tested on, behind one small interface."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import postgres as pg


@dataclass
class Place:
    """An empty database: its address, and what tests ask of it beside the sink."""

    kind: str
    uri: str
    ask: Callable[[str], list[tuple[Any, ...]]]

    def rows(self, table: str = "sales", columns: str = "*") -> list[tuple[Any, ...]]:
        """The rows of a table, in order."""
        return self.ask(f"SELECT {columns} FROM {table} ORDER BY 1")

    def stages(self) -> list[str]:
        """The staging tables that are there."""
        catalog = {
            "sqlite": "SELECT name FROM sqlite_master",
            "postgresql": "SELECT tablename FROM pg_tables",
            "duckdb": "SELECT table_name FROM duckdb_tables()",
        }
        return [name for (name,) in self.ask(catalog[self.kind]) if name.startswith("dataflare_stage_")]


def sqlite_place(folder: Path) -> Place:
    """A SQLite file."""
    path = folder / "shop.db"

    def ask(text: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return [row for part in text.split(";") for row in connection.execute(part)]

    return Place("sqlite", f"sqlite:///{path}", ask)


def duckdb_place(folder: Path) -> Place:
    """A DuckDB file; asked in this process, since no other may open it."""
    path = folder / "shop.duckdb"

    def ask(text: str) -> list[tuple[Any, ...]]:
        import duckdb

        with duckdb.connect(path) as connection:
            found = connection.execute(text)
            return found.fetchall() if found.description else []

    return Place("duckdb", f"duckdb:///{path}", ask)


def postgres_place(server: pg.Postgres) -> Place:
    """A database of the session's PostgreSQL server."""
    dsn = server.create(pg.fresh_name())

    def ask(text: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    return Place("postgresql", dsn, ask)
