"""PostgreSQL as the target of the SQL sink: rows by binary COPY into tables of their own, moved by one transaction.

A session of an older run of the same sink is ended when a newer one claims the target: frozen in the middle of a
transaction, it would hold its locks for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError, Context, DataflareError, Problem, Retry
from dataflare_std.sql import postgres_types, statements
from dataflare_std.sql.databases import unknown_address
from dataflare_std.sql.numbered import NumberedTarget
from dataflare_std.sql.postgres_copy import HEAD, TAIL, copy_pieces
from dataflare_std.sql.postgres_errors import is_refusal, refusal, translated
from dataflare_std.sql.postgres_read import read_table
from dataflare_std.sql.postgres_table import PostgresShape, make_room, missing_rights, shape_of
from dataflare_std.sql.shape import TableShape
from dataflare_std.sql.statements import quoted, table_name
from dataflare_std.sql.target import OP, Misfits, Owner, Refusal, Table

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

SETTINGS = (
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET TIME ZONE 'UTC'",
    "SET client_min_messages = error",
)
NAME_BYTES = 63
TEXT = ("text", "character varying", "character", "name", "citext")
OLDER = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
AND application_name LIKE ? AND split_part(application_name, '/', 3)::bigint < ?
"""


class PostgresDatabase:
    """PostgreSQL servers."""

    def check(self, uri: str, table: Table, ctx: Context) -> Iterable[Problem]:
        """The form of the address, and names that PostgreSQL or the sink keeps for itself."""
        try:
            _settings_of(uri)
        except ConfigError as error:
            yield from error.problems
        last = table.name.rpartition(".")[2]
        if last.lower().startswith(("dataflare_", "pg_")):
            yield Problem(
                "sql.reserved_table", f"the name `{table.name}` is reserved", pointer="/table", fix="use another name"
            )
        for name in [last, *table.key]:
            if len(name.encode()) > NAME_BYTES:
                yield Problem(
                    "sql.long_name",
                    f"PostgreSQL cuts the name `{name}` after {NAME_BYTES} bytes",
                    pointer="/table" if name == last else "/key",
                    fix="use a shorter one",
                )

    def check_place(self, uri: str, ctx: Context) -> Iterable[Problem]:
        """Whether the server answers and lets this user in."""
        try:
            with translated(_shown(uri)):
                _connected(uri, "dataflare").close()
        except (DataflareError, Retry) as error:
            problem = error.problems[0] if isinstance(error, DataflareError) else None
            yield Problem(
                "sql.cannot_open",
                problem.message if problem else str(error),
                pointer="/uri",
                cause=problem.cause if problem else None,
                fix=problem.fix if problem else "start the server, or correct `uri`",
            )

    def holds(self, kind: pa.DataType) -> bool:
        """Everything but unions and calendar intervals."""
        import pyarrow.types as is_

        return not (is_.is_union(kind) or is_.is_interval(kind))

    def connect(self, uri: str, table: Table, ctx: Context) -> PostgresTarget:
        """Connect to the server."""
        problems = list(self.check(uri, table, ctx))
        if problems:
            raise ConfigError(*problems)
        return PostgresTarget(uri, table, Owner.of(ctx))


DATABASE = PostgresDatabase()


class PostgresTarget(NumberedTarget):
    """One connection to a server, made again when it is lost (the call then raises Retry)."""

    lane_lock = " FOR UPDATE"

    def __init__(self, uri: str, table: Table, owner: Owner) -> None:
        super().__init__(table)
        self._uri, self._place = uri, _shown(uri)
        self._name = table_name(table.name)
        self._sink = sha256("\0".join((owner.incarnation, owner.flow, owner.sink)).encode()).hexdigest()[:24]
        self._session = f"dataflare/{self._sink}/{owner.fence}"
        self._connection: psycopg.Connection[Any] | None = None
        with translated(self._place):
            self._open()

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()

    def claim(self, owner: Owner, live: Iterable[str], first: bool, replaces: bool) -> None:
        """Also end the sessions of older runs."""
        with self._reading():
            self._rows(OLDER, (f"dataflare/{self._sink}/%", owner.fence))
        super().claim(owner, live, first, replaces)

    def misfits(self, column: pa.Array) -> Misfits | None:
        """Characters, times and dates that PostgreSQL does not know."""
        return postgres_types.misfits(column)

    def rows(self, size: int) -> Iterator[Any]:
        """The rows of the table, with the types of its columns."""
        with self._reading():
            if self._exists():
                yield from read_table(self._open(), self._name, shape_of(self._rows, self._table), size)

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        with translated(self._place), self._kept(), self._open().transaction():
            if not durable:
                # A later durable commit brings this one to the disk as well.
                self._rows("SET LOCAL synchronous_commit = off")
            yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with translated(self._place), self._kept():
            self._open()
            yield

    @contextmanager
    def _undone(self) -> Iterator[None]:
        import psycopg

        with translated(self._place), self._kept(), self._open().transaction():
            yield
            self._rows("SET CONSTRAINTS ALL IMMEDIATE")
            raise psycopg.Rollback

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """A connection that broke is let go, so that the next call makes another."""
        try:
            yield
        except BaseException:
            if self._connection is not None and self._connection.broken:
                self._connection.close()
                self._connection = None
            raise

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = _connected(self._uri, self._session)
        return self._connection

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        connection = self._open()
        query = text.replace("%", "%%").replace("?", "%s") if values else text
        cursor = connection.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def _shape_now(self) -> PostgresShape:
        return shape_of(self._rows, self._table)

    def _make_room(self, schema: pa.Schema) -> TableShape:
        long = [name for name in schema.names if len(name.encode()) > NAME_BYTES]
        if long:
            raise ConfigError.of(
                "sql.long_name",
                f"PostgreSQL cuts the name `{long[0]}` after {NAME_BYTES} bytes",
                fix="rename the column with std/select",
            )
        wanted = {column.name: postgres_types.declared(column.type) for column in schema if column.name != OP}
        shape = make_room(self._rows, self._table, wanted)
        missing = missing_rights(self._rows, self._table)
        if missing:
            raise ConfigError.of(
                "sql.no_permission",
                f"this user may not {', '.join(missing)} on `{self._table.name}`",
                pointer="/table",
                fix=f"GRANT {', '.join(missing)} ON {self._name} TO the user of `uri`",
            )
        return shape

    def _stage_types(self, schema: pa.Schema, shape: TableShape) -> dict[str, str]:
        return {column.name: postgres_types.declared(column.type) for column in schema} | (
            {OP: "text"} if OP in schema.names else {}
        )

    def _fill(self, stage: str, rows: pa.RecordBatch, shape: TableShape) -> list[Refusal]:
        numbered = self._numbered(stage, rows)
        columns = statements.names(numbered.schema.names)
        with self._open().cursor() as cursor:
            text = f"COPY {quoted(stage)} ({columns}) FROM STDIN (FORMAT binary)"
            with cursor.copy(text.encode()) as copy:
                copy.write(HEAD)
                for piece in copy_pieces(numbered):
                    copy.write(piece)
                copy.write(TAIL)
        if shape.guarded:
            self._alone()
        refused = self._refused(stage, rows, shape)
        self._take_back(stage, refused)
        return refused

    def _alone(self) -> None:
        self._rows("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (f"dataflare {self._table.name}",))

    def _trial(self, stage: str, only: str, recast: Mapping[str, str]) -> tuple[str, str] | None:
        import psycopg

        try:
            with self._open().transaction():
                changed = self._changed(stage, only, recast)
                if changed is None:
                    self._emptied()
                    self._move(stage, only)
                    self._rows("SET CONSTRAINTS ALL IMMEDIATE")
                raise psycopg.Rollback
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            return refusal(error)
        return changed

    def _keeps(self, kind: str, wanted: str) -> bool:
        return kind == "text" or wanted == "json" or wanted.startswith(TEXT)

    def _values_of(self, stage: str) -> dict[str, str]:
        shape = self._shape_now()
        return {
            name: f"CAST({quoted(name)} AS {shape.plain[name]})" if _needs_cast(kind, shape, name) else quoted(name)
            for name, kind in self._types_of(stage).items()
        }

    def _types_of(self, stage: str) -> dict[str, str]:
        text = (
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        return dict(self._rows(text, (quoted(stage),)))


def _needs_cast(kind: str, shape: PostgresShape, name: str) -> bool:
    return kind == "text" and shape.plain.get(name, "text") not in TEXT


def _connected(uri: str, session: str) -> psycopg.Connection[Any]:
    import psycopg

    settings = {"connect_timeout": "10", "tcp_user_timeout": "30000", **_settings_of(uri)}
    connection = psycopg.connect(**settings | {"application_name": session}, autocommit=True)
    for text in SETTINGS:
        connection.execute(text.encode())
    return connection


def _settings_of(uri: str) -> dict[str, Any]:
    """The parts of an address. Raises ConfigError (``sql.uri``), without showing it."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return conninfo_to_dict(uri)
    except psycopg.Error:
        raise unknown_address("PostgreSQL's client cannot read it") from None


def _shown(uri: str) -> str:
    """The database in messages: without user and password."""
    settings = _settings_of(uri)
    place = settings.get("host") or settings.get("hostaddr") or "localhost"
    return f"the database `{settings.get('dbname', '')}` on {place}"
