"""SQLite as the target of the SQL sink.

Each lane stages an epoch in a table of its own, in short transactions, so lanes and readers seldom wait for one
another. The commit moves all lanes' rows in one transaction and notes the epoch in ``dataflare_epochs``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError, Failed, Fenced, crash
from dataflare_std.sql import statements
from dataflare_std.sql.sqlite_errors import constraint, translated
from dataflare_std.sql.sqlite_file import check_database, check_table
from dataflare_std.sql.sqlite_table import TableShape, make_room
from dataflare_std.sql.statements import SEQUENCE, STAGED_OP, quoted
from dataflare_std.sql.target import OP, Owner, Refusal, Staged, Table
from dataflare_std.sql.values import declared

if TYPE_CHECKING:
    import pyarrow as pa

BUSY_SECONDS = 2.0


class SqliteTarget:
    """One connection to a SQLite file. Raises Retry while another process holds the file's lock."""

    def __init__(self, path: Path, table: Table) -> None:
        problems = [*check_table(table), *check_database(path)]
        if problems:
            raise ConfigError(*problems)
        self._path, self._table = path, table
        self._shape = TableShape()
        self._schema: pa.Schema | None = None
        self._stage_columns: tuple[str, tuple[str, ...]] = ("", ())
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

    def claim(self, owner: Owner, live: Iterable[str], first: bool) -> None:
        """Bookkeeping tables, fence, and an end to what dead attempts have staged."""
        with self._transaction(durable=True):
            for text in statements.BOOKKEEPING:
                self._connection.execute(text)
            self._check_fence(owner, owner.fence)
            lane = (owner.incarnation, owner.flow, owner.sink, owner.lane, owner.fence)
            self._connection.execute(statements.RAISE_FENCE, lane)
            self._drop(set(self._dead_stages(owner, first)).difference(live))

    def holds_rows(self) -> bool:
        """Whether the table has any row."""
        with translated(self._path):
            if not self._exists():
                return False
            found = self._connection.execute(f"SELECT 1 FROM {quoted(self._table.name)} LIMIT 1").fetchone()
            return found is not None

    def epoch(self, owner: Owner) -> int | None:
        """The last epoch of this sink in the file."""
        with translated(self._path):
            if not list(self._connection.execute("PRAGMA table_info(dataflare_epochs)")):
                return None
            sink = (owner.incarnation, owner.flow, owner.sink)
            found: int | None = self._connection.execute(statements.LAST_EPOCH, sink).fetchone()[0]
            return found

    def stage(self, owner: Owner, epoch: int, columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> list[Refusal]:
        """Put rows aside; those that the table would refuse are left out and named."""
        values = {STAGED_OP if name == OP else name: column for name, column in columns.items()}
        if OP in columns:
            values[STAGED_OP] = [operation or "upsert" for operation in columns[OP]]
        names, rows = tuple(values), list(zip(*values.values(), strict=True))
        stage = owner.stage(epoch)
        with self._transaction(durable=False):
            shape = self._shaped(schema)
            self._make_stage(stage, owner, epoch, names, shape)
            text = statements.insert(stage, names)
            refused = self._refused(stage, names, rows, shape) if shape.guarded else []
            left_out = {refusal.row for refusal in refused}
            self._connection.executemany(
                text, (row for at, row in enumerate(rows) if at not in left_out) if left_out else rows
            )
        self._shape, self._schema, self._stage_columns = shape, schema, (stage, names)
        return refused

    def prepare(self, owner: Owner, epoch: int, rows: int) -> None:
        """Make the stage durable; a table with constraints is tried out with the rows of all lanes."""
        with self._transaction(durable=True):
            self._check_fence(owner, owner.fence)
            stage = owner.stage(epoch)
            staged = self._connection.execute(f"SELECT count(*) FROM {quoted(stage)}").fetchone()[0]
            if staged != rows:
                raise Failed.of(
                    "sql.staged_rows", f"{rows} rows were staged for epoch {epoch}, the database holds {staged}"
                )
            if self._shape.guarded:
                self._try_out(owner, epoch)
            # a write, so that this commit reaches the disk, and with it all that was staged before
            self._connection.execute("UPDATE dataflare_stages SET epoch = ? WHERE name = ?", (epoch, stage))

    def commit(self, tokens: Sequence[Staged], fence: int) -> None:
        """Move what the tokens name, unless their epoch is noted already."""
        if not tokens:
            return
        with self._transaction(durable=True):
            if any(token.replace for token in tokens) and not self._committed(tokens[0]) and self._exists():
                self._connection.execute(f"DELETE FROM {quoted(self._table.name)}")
            for token in tokens:
                self._commit_lane(token, fence)
            self._drop(token.stage for token in tokens)
            crash.point("sink-move")

    def discard(self, stages: Iterable[str]) -> None:
        """Drop staged rows."""
        with self._transaction(durable=False):
            self._drop(stages)
        self._stage_columns = ("", ())

    def rows(self, size: int) -> Iterator[list[dict[str, Any]]]:
        """The rows of the table, in parts; none if there is no table yet."""
        with translated(self._path):
            if not self._exists():
                return
            cursor = self._connection.execute(f"SELECT * FROM {quoted(self._table.name)}")
            names = [column[0] for column in cursor.description]
            kinds = TableShape.of(self._connection, self._table).types_of(names)
            truths = [at for at, name in enumerate(names) if kinds[name] == "BOOLEAN"]
            while part := cursor.fetchmany(size):
                yield [dict(zip(names, _with_truths(row, truths), strict=True)) for row in part]

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
    def _undone(self) -> Iterator[None]:
        """What happens inside leaves no trace."""
        self._connection.execute("SAVEPOINT dataflare_trial")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK TO dataflare_trial")
            self._connection.execute("RELEASE dataflare_trial")

    def _shaped(self, schema: pa.Schema) -> TableShape:
        if self._schema is not None and self._schema.equals(schema):
            return self._shape
        wanted = {column.name: declared(column.type) for column in schema if column.name != OP}
        return make_room(self._connection, self._table, wanted)

    def _make_stage(self, stage: str, owner: Owner, epoch: int, names: tuple[str, ...], shape: TableShape) -> None:
        if self._stage_columns == (stage, names):
            return
        types = shape.types_of(name for name in names if name != STAGED_OP)
        types |= {STAGED_OP: "TEXT"} if STAGED_OP in names else {}
        if self._stage_columns[0] == stage:
            known = {row[1] for row in self._connection.execute(f"PRAGMA table_info({quoted(stage)})")}
            for name in [name for name in names if name not in known]:
                default = " DEFAULT 'upsert'" if name == STAGED_OP else ""
                self._connection.execute(
                    f"ALTER TABLE {quoted(stage)} ADD COLUMN {quoted(name)} {types[name]}{default}"
                )
        else:
            self._drop([stage])
            self._connection.execute(statements.create_stage(stage, types))
            place = (stage, owner.incarnation, owner.flow, owner.sink, owner.lane, epoch, owner.fence, self._table.name)
            self._connection.execute("INSERT INTO dataflare_stages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", place)
        for number, index in enumerate([] if self._table.key else shape.unique):
            if set(index) <= set(names):
                name = quoted(f"{stage}_{number}")
                self._connection.execute(
                    f"CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {quoted(stage)} ({statements.names(index)})"
                )

    def _refused(
        self, stage: str, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]], shape: TableShape
    ) -> list[Refusal]:
        """Rows that break a constraint of the table, or repeat what this epoch has staged."""
        data = [name for name in names if name != STAGED_OP]
        into_table = statements.insert(self._table.name, data, self._table.key)
        into_stage = statements.insert(stage, names)
        places = [at for at, name in enumerate(names) if name != STAGED_OP]
        deletes = names.index(STAGED_OP) if STAGED_OP in names else None
        kept = [at for at, row in enumerate(rows) if deletes is None or row[deletes] != "delete"]
        trial = {at: tuple(rows[at][place] for place in places) for at in kept}
        refused = self._refused_by(into_table, trial)
        staged = {at: row for at, row in enumerate(rows) if at not in {refusal.row for refusal in refused}}
        repeated = self._refused_by(into_stage, staged)
        return refused + [replace(each, message=each.message.replace(stage, self._table.name)) for each in repeated]

    def _refused_by(self, text: str, rows: Mapping[int, tuple[Any, ...]]) -> list[Refusal]:
        try:
            with self._undone():
                self._connection.executemany(text, rows.values())
            return []
        except sqlite3.IntegrityError:
            pass
        refused = []
        with self._undone():
            for at, row in rows.items():
                try:
                    self._connection.execute(text, row)
                except sqlite3.IntegrityError as error:
                    refused.append(Refusal(at, *constraint(error)))
        return refused

    def _try_out(self, owner: Owner, epoch: int) -> None:
        lanes = self._connection.execute(
            statements.LANES_OF_EPOCH,
            (owner.incarnation, owner.flow, owner.sink, epoch, owner.fence),
        ).fetchall()
        with self._undone():
            for (stage,) in lanes:
                self._move(stage)

    def _commit_lane(self, token: Staged, fence: int) -> None:
        owner = Owner(token.incarnation, token.flow, token.sink, token.lane, fence)
        noted = self._check_fence(owner, fence)
        if noted >= token.epoch:
            return
        if token.rows:
            self._move_staged(token)
        lane = (token.incarnation, token.flow, token.sink, token.lane, token.epoch, fence)
        self._connection.execute(statements.NOTE_EPOCH, lane)

    def _move_staged(self, token: Staged) -> None:
        if not list(self._connection.execute(f"PRAGMA table_info({quoted(token.stage)})")):
            raise Failed.of(
                "sql.staged_missing",
                f"the {token.rows} rows staged for epoch {token.epoch} in {token.stage} are gone",
                cause="the epoch is decided, but neither staged rows nor a note of its commit are in the database",
                fix="restore the database, or settle the epoch with `dataflare state resolve`",
            )
        self._move(token.stage)

    def _move(self, stage: str) -> None:
        columns = [
            row[1] for row in self._connection.execute(f"PRAGMA table_info({quoted(stage)})") if row[1] != SEQUENCE
        ]
        data = [name for name in columns if name != STAGED_OP]
        for text in statements.move(self._table.name, stage, data, self._table.key, STAGED_OP in columns):
            self._connection.execute(text)

    def _exists(self) -> bool:
        return bool(TableShape.of(self._connection, self._table).columns)

    def _committed(self, token: Staged) -> bool:
        sink = (token.incarnation, token.flow, token.sink)
        return bool(self._connection.execute(statements.LAST_EPOCH, sink).fetchone()[0])

    def _check_fence(self, owner: Owner, fence: int) -> int:
        """The epoch that the lane's note holds. Raises Fenced if a newer owner has been here."""
        lane = (owner.incarnation, owner.flow, owner.sink, owner.lane)
        epoch, newest = self._connection.execute(statements.LANE, lane).fetchone() or (0, 0)
        if newest > fence:
            raise Fenced.of(
                "sql.fenced",
                f"a newer run of flow `{owner.flow}` writes to `{self._table.name}`: this one must stop",
                cause=f"its fencing token is {newest}, this one has {fence}",
            )
        return int(epoch)

    def _dead_stages(self, owner: Owner, first: bool) -> Iterator[str]:
        staged = self._connection.execute(
            "SELECT name, incarnation, fence FROM dataflare_stages WHERE flow = ? AND sink = ? AND target = ?",
            (owner.flow, owner.sink, self._table.name),
        )
        for name, incarnation, fence in staged.fetchall():
            # other lives of this flow are over once a new one begins
            if (incarnation == owner.incarnation and fence < owner.fence) or (
                incarnation != owner.incarnation and first
            ):
                yield name

    def _drop(self, stages: Iterable[str]) -> None:
        for stage in stages:
            self._connection.execute(f"DROP TABLE IF EXISTS {quoted(stage)}")
            self._connection.execute("DELETE FROM dataflare_stages WHERE name = ?", (stage,))


def _with_truths(row: tuple[Any, ...], truths: Sequence[int]) -> list[Any]:
    values = list(row)
    for at in truths:
        values[at] = None if values[at] is None else bool(values[at])
    return values
