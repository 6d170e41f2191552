"""SQLite as the target of the SQL sink."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError, Context, Problem
from dataflare_std.sql import statements
from dataflare_std.sql.database_file import FileKind, check_address, check_database, database_path
from dataflare_std.sql.shape import TableShape
from dataflare_std.sql.sqlite_errors import constraint, translated
from dataflare_std.sql.sqlite_table import make_room, shape_of, types_of
from dataflare_std.sql.sqlite_values import as_declared, bindable, declared, too_large, unsupported
from dataflare_std.sql.staging import StagingTarget
from dataflare_std.sql.statements import STAGED_OP, quoted
from dataflare_std.sql.target import OP, Misfits, Refusal, Table

if TYPE_CHECKING:
    import pyarrow as pa

BUSY_SECONDS = 2.0
KIND = FileKind("SQLite", b"SQLite format 3\x00", 0, ("dataflare_", "sqlite_"))


class SqliteDatabase:
    """SQLite files."""

    def check(self, uri: str, table: Table, ctx: Context) -> Iterable[Problem]:
        """The form of the address, and names that SQLite keeps for itself."""
        return check_address(uri, table, KIND, ctx)

    def check_place(self, uri: str, ctx: Context) -> Iterable[Problem]:
        """The file and its folder."""
        return check_database(database_path(uri, ctx), KIND)

    def holds(self, kind: pa.DataType) -> bool:
        """Numbers, text and bytes; the rest becomes text."""
        return not unsupported(kind)

    def connect(self, uri: str, table: Table, ctx: Context) -> SqliteTarget:
        """Open the file."""
        problems = [*self.check(uri, table, ctx)]
        problems = problems or [*self.check_place(uri, ctx)]
        if problems:
            raise ConfigError(*problems)
        return SqliteTarget(database_path(uri, ctx), table)


DATABASE = SqliteDatabase()


class SqliteTarget(StagingTarget):
    """One connection to a SQLite file. Raises Retry while another process holds the file's lock."""

    sequence = "INTEGER PRIMARY KEY"
    clearing = "DELETE FROM"

    def __init__(self, path: Path, table: Table) -> None:
        super().__init__(table)
        self._path = path
        is_new = not path.exists() or path.stat().st_size == 0
        with translated(path):
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            if is_new:
                self._connection.execute("PRAGMA journal_mode = WAL")
            self._wal = self._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            self._connection.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def misfits(self, column: pa.Array) -> Misfits | None:
        """Numbers above the largest signed 64-bit one."""
        mask = too_large(column)
        return None if mask is None else (mask, "sql.out_of_range", "does not fit into 64 bits with a sign")

    def rows(self, size: int) -> Iterator[Any]:
        """The rows of the table, with the types that its columns were declared with."""
        with translated(self._path):
            if not self._exists():
                return
            cursor = self._connection.execute(f"SELECT * FROM {self._name}")
            names = [column[0] for column in cursor.description]
            kinds = types_of(shape_of(self._connection, self._table), names)
            while part := cursor.fetchmany(size):
                columns = zip(names, zip(*part, strict=True), strict=True)
                yield {name: as_declared(list(values), kinds[name]) for name, values in columns}

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        # In WAL mode a commit without sync cannot damage the file, and the next durable one makes it last.
        with translated(self._path):
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable or not self._wal else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with translated(self._path):
            yield

    @contextmanager
    def _undone(self) -> Iterator[None]:
        with translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _saved(self) -> Iterator[None]:
        """What happens inside leaves no trace in the transaction around it."""
        self._connection.execute("SAVEPOINT dataflare_trial")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK TO dataflare_trial")
            self._connection.execute("RELEASE dataflare_trial")

    def _alone(self) -> None:
        """Each transaction is alone from its beginning."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(text, values).fetchall()

    def _columns_of(self, table: str) -> list[str]:
        return [row[1] for row in self._connection.execute(f"PRAGMA table_info({quoted(table)})")]

    def _shape_now(self) -> TableShape:
        return shape_of(self._connection, self._table)

    def _make_room(self, schema: pa.Schema) -> TableShape:
        wanted = {column.name: declared(column.type) for column in schema if column.name != OP}
        return make_room(self._connection, self._table, wanted)

    def _stage_types(self, schema: pa.Schema, shape: TableShape) -> dict[str, str]:
        types = types_of(shape, [name for name in schema.names if name != OP])
        return types | ({OP: "TEXT"} if OP in schema.names else {})

    def _index_stage(self, stage: str, names: Iterable[str], shape: TableShape) -> None:
        for number, index in enumerate([] if self._table.key else shape.unique):
            if set(index) <= set(names):
                name = quoted(f"{stage}_{number}")
                self._rows(f"CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {quoted(stage)} ({statements.names(index)})")

    def _fill(self, stage: str, rows: pa.RecordBatch, shape: TableShape) -> list[Refusal]:
        columns = {name: bindable(column) for name, column in zip(rows.schema.names, rows.columns, strict=True)}
        if STAGED_OP in columns:
            columns[STAGED_OP] = [operation or "upsert" for operation in columns[STAGED_OP]]
        names, values = tuple(columns), list(zip(*columns.values(), strict=True))
        refused = self._refused(stage, names, values, shape) if shape.guarded else []
        left_out = {refusal.row for refusal in refused}
        self._connection.executemany(
            statements.insert(quoted(stage), names),
            (row for at, row in enumerate(values) if at not in left_out) if left_out else values,
        )
        return refused

    def _refused(
        self, stage: str, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]], shape: TableShape
    ) -> list[Refusal]:
        """Rows that break a constraint of the table, or repeat what this epoch has staged, in any lane."""
        data = [name for name in names if name != STAGED_OP]
        places = [at for at, name in enumerate(names) if name != STAGED_OP]
        deletes = names.index(STAGED_OP) if STAGED_OP in names else None
        kept = [at for at, row in enumerate(rows) if deletes is None or row[deletes] != "delete"]
        trial = {at: tuple(rows[at][place] for place in places) for at in kept}
        refused = self._refused_by(statements.insert(self._name, data, self._table.key), trial)
        staged = {at: row for at, row in enumerate(rows) if at not in {refusal.row for refusal in refused}}
        for each in [stage, *self._stages_beside(stage)]:
            if set(names) <= set(self._columns_of(each)):
                repeated = self._refused_by(statements.insert(quoted(each), names), staged)
                staged = {at: row for at, row in staged.items() if at not in {refusal.row for refusal in repeated}}
                message = f"UNIQUE constraint failed: {self._table.name}, which gets such a row in this epoch"
                refused += [replace(refusal, message=message) for refusal in repeated]
        return refused

    def _refused_by(self, text: str, rows: Mapping[int, tuple[Any, ...]]) -> list[Refusal]:
        try:
            with self._saved():
                self._emptied()
                self._connection.executemany(text, rows.values())
            return []
        except sqlite3.IntegrityError:
            pass
        refused = []
        with self._saved():
            self._emptied()
            for at, row in rows.items():
                try:
                    self._connection.execute(text, row)
                except sqlite3.IntegrityError as error:
                    refused.append(Refusal(at, *constraint(error)))
        return refused
