"""DuckDB as the target of the SQL sink: batches go in as they are.

One process has a DuckDB file; all lanes and sinks of it share the open database, and take turns with its transactions.
A statement that fails ends a DuckDB transaction, so rows are tried out in transactions of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError, Context, Problem
from dataflare_std.sql import duck_types, statements
from dataflare_std.sql.database_file import FileKind, check_address, check_database, database_path
from dataflare_std.sql.duck_errors import is_refusal, refusal, translated
from dataflare_std.sql.duck_table import make_room, shape_of
from dataflare_std.sql.numbered import NumberedTarget
from dataflare_std.sql.shape import TableShape
from dataflare_std.sql.statements import quoted, table_name
from dataflare_std.sql.target import OP, Misfits, Owner, Refusal, Table

if TYPE_CHECKING:
    import pyarrow as pa

KIND = FileKind("DuckDB", b"DUCK", 8, ("dataflare_",))
BATCH = "dataflare_batch"
_turns: dict[Path, threading.RLock] = {}
_making = threading.Lock()


class DuckDatabase:
    """DuckDB files."""

    def check(self, uri: str, table: Table, ctx: Context) -> Iterable[Problem]:
        """The form of the address, and names that the sink keeps for itself."""
        return check_address(uri, table, KIND, ctx)

    def check_place(self, uri: str, ctx: Context) -> Iterable[Problem]:
        """The file and its folder."""
        return check_database(database_path(uri, ctx), KIND)

    def holds(self, kind: pa.DataType) -> bool:
        """Everything but unions."""
        import pyarrow.types as is_

        return not is_.is_union(kind)

    def connect(self, uri: str, table: Table, ctx: Context) -> DuckTarget:
        """Open the file, or the database that this process has open."""
        problems = [*self.check(uri, table, ctx)]
        problems = problems or [*self.check_place(uri, ctx)]
        if problems:
            raise ConfigError(*problems)
        return DuckTarget(database_path(uri, ctx), table)


DATABASE = DuckDatabase()


class DuckTarget(NumberedTarget):
    """One connection to the process's open database of a file."""

    def __init__(self, path: Path, table: Table) -> None:
        import duckdb

        super().__init__(table)
        self._path = path.resolve()
        self._name = table_name(table.name)
        with _making:
            self._turn = _turns.setdefault(self._path, threading.RLock())
        with self._reading():
            self._connection = duckdb.connect(self._path)
            self._connection.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        """Close the connection; the last one of the process closes the file."""
        with self._turn:
            self._connection.close()

    def stage(self, owner: Owner, epoch: int, rows: pa.RecordBatch) -> list[Refusal]:
        """Put rows aside, then take back those that the table would refuse."""
        with self._turn:
            first = self._next if self._staged_as[0] == owner.stage(epoch) else 0
            super().stage(owner, epoch, rows)
            self._next, self._unsure = first, True
            with self._reading():
                refused = self._refused(owner.stage(epoch), rows, self._shape)
                self._take_back(owner.stage(epoch), refused)
            self._next, self._unsure = first + rows.num_rows, False
            return refused

    def misfits(self, column: pa.Array) -> Misfits | None:
        """Times between two microseconds."""
        return duck_types.misfits(column)

    def rows(self, size: int) -> Iterator[Any]:
        """The rows of the table."""
        with self._reading():
            columns = self._shape_now().columns
            if not columns:
                return
            wanted = ", ".join(duck_types.reading(name, kind) for name, kind in columns.items())
            reader = self._connection.cursor().sql(f"SELECT {wanted} FROM {self._name}").to_arrow_reader(size)
        for part in reader:
            yield duck_types.as_read(part, columns)

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        with self._reading():
            self._rows("BEGIN")
            try:
                yield
            except BaseException:
                self._rows("ROLLBACK")
                raise
            self._rows("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn, translated(self._path):
            yield

    @contextmanager
    def _undone(self) -> Iterator[None]:
        with self._reading():
            self._rows("BEGIN")
            try:
                yield
            finally:
                self._rows("ROLLBACK")

    def _alone(self) -> None:
        """Transactions take turns."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        found = self._connection.execute(text, list(values) or None)
        return found.fetchall() if found.description else []

    def _types_of(self, table: str) -> dict[str, str]:
        text = (
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? "
            "AND database_name = current_database() AND schema_name = current_schema() ORDER BY column_index"
        )
        return dict(self._rows(text, (table,)))

    def _shape_now(self) -> TableShape:
        return shape_of(self._rows, self._table)

    def _make_room(self, schema: pa.Schema) -> TableShape:
        wanted = {column.name: self._declared(column) for column in schema if column.name != OP}
        return make_room(self._rows, self._table, wanted)

    def _stage_types(self, schema: pa.Schema, shape: TableShape) -> dict[str, str]:
        return {column.name: "VARCHAR" if column.name == OP else self._declared(column) for column in schema}

    def _declared(self, column: pa.Field) -> str:
        """DuckDB's own type for an Arrow type."""
        import pyarrow as pa

        fitted = duck_types.fitted(pa.array([], column.type))
        self._connection.register(BATCH, pa.table({"c": fitted}))
        try:
            return str(self._rows(f"DESCRIBE SELECT c FROM {BATCH}")[0][1])
        finally:
            self._connection.unregister(BATCH)

    def _fill(self, stage: str, rows: pa.RecordBatch, shape: TableShape) -> list[Refusal]:
        import pyarrow as pa

        numbered = self._numbered(stage, rows)
        names = numbered.schema.names
        columns = [duck_types.fitted(column) for column in numbered.columns]
        self._connection.register(BATCH, pa.RecordBatch.from_arrays(columns, names=names))
        try:
            self._rows(f"INSERT INTO {quoted(stage)} ({statements.names(names)}) SELECT * FROM {BATCH}")
        finally:
            self._connection.unregister(BATCH)
        return []

    def _trial(self, stage: str, only: str, recast: Mapping[str, str]) -> tuple[str, str] | None:
        import duckdb

        with self._undone():
            try:
                changed = self._changed(stage, only, recast)
                if changed is None:
                    self._emptied()
                    self._move(stage, only)
            except duckdb.Error as error:
                if not is_refusal(error):
                    raise
                return refusal(error)
        return changed

    def _keeps(self, kind: str, wanted: str) -> bool:
        return "VARCHAR" in (kind, wanted)
