"""A PostgreSQL server as a state store's database: connecting, reconnecting, layout, errors in plain words."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from dataflare.errors import ConfigError, StateError
from dataflare_state import problems
from dataflare_state.tables import LAYOUT, TABLES

log = logging.getLogger(__name__)
T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""Seconds and tries after which a network that swallows everything is noticed."""
MAKING = 0x44466C77
"""The advisory lock under which tables are made: two runners may be the first at once."""
PAUSES = (0.02, 0.1, 0.25, 0.5, 1.0)
GONE = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleInTransactionSessionTimeout)
FINAL = ("28", "3D", "42")
"""Classes of refusals (password, database, rights) that no second try changes."""


class Unreachable(Exception):
    """The server could not be connected to."""

    def __init__(self, why: psycopg.Error) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(frozen=True)
class Server:
    """Where the server is, the schema in it, and how long to wait for what (seconds)."""

    dsn: str
    schema: str
    connect: float
    lock: float
    statement: float
    reconnect: float

    @property
    def place(self) -> str:
        """The address for messages; never with a password."""
        given = self._given()
        at = given.get("host") or given.get("hostaddr") or ""
        port = f":{given['port']}" if given.get("port") else ""
        user = f"{given['user']}@" if given.get("user") else ""
        return f"postgresql://{user}{at}{port}/{given.get('dbname') or ''} (schema {self.schema})"

    def connection(self) -> Connection:
        """A new connection, in our schema and with our timeouts. Raises Unreachable."""
        given = {"connect_timeout": max(2, round(self.connect)), "tcp_user_timeout": 20_000, **ALIVE, **self._given()}
        given.setdefault("application_name", "dataflare")
        try:
            made: Connection = psycopg.connect(**given, autocommit=True)
        except psycopg.Error as error:
            raise Unreachable(error) from error
        try:
            made.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            self._set(made)
        except psycopg.Error as error:
            made.close()
            raise Unreachable(error) from error
        return made

    def make(self, connection: Connection) -> None:
        """Make what is missing of the tables, whoever else does the same."""
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", (MAKING,))
            if self.layout(connection) is not None:
                return
            name = sql.Identifier(self.schema)
            if not connection.execute("select 1 from pg_namespace where nspname = %s", (self.schema,)).fetchone():
                connection.execute(sql.SQL("create schema {}").format(name))
            connection.execute(TABLES)
            connection.execute("insert into layout values (%s)", (LAYOUT,))

    def layout(self, connection: Connection) -> int | None:
        """The number of the layout; None where there are no tables yet. Raises StateError for a newer one."""
        there = "select to_regclass(quote_ident(%s) || '.layout') is not null"
        found = connection.execute(there, (self.schema,)).fetchone()
        if found is None or not found[0]:
            return None
        try:
            row = connection.execute("select number from layout").fetchone()
        except errors.UndefinedColumn as error:
            raise problems.foreign(self.place, "its table `layout` is another program's") from error
        if row is None:
            raise problems.foreign(self.place, "its table `layout` is empty")
        if row[0] > LAYOUT:
            raise problems.newer_store(self.place, row[0], LAYOUT)
        return int(row[0])

    def translated(self, error: psycopg.Error) -> StateError:
        """What the server said, as an error that names the place, the cause and what to do."""
        cause, place = _told(error), self.place
        if isinstance(error, (errors.LockNotAvailable, errors.DeadlockDetected)):
            return problems.held(place, cause)
        if isinstance(error, errors.QueryCanceled):
            return problems.too_slow(place, cause)
        if isinstance(error, errors.DiskFull):
            return problems.disk_full(place, cause)
        if isinstance(error, (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)):
            return problems.unwritable(place, cause)
        if isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted)):
            return problems.damaged(place, cause)
        return problems.refused(place, cause)

    def _given(self) -> dict[str, Any]:
        try:
            return dict(conninfo_to_dict(self.dsn))
        except psycopg.ProgrammingError:
            # What libpq says could hold a part of the password.
            raise ConfigError.of(
                "state.dsn",
                "`dsn` is not the address of a PostgreSQL database",
                pointer="/dsn",
                fix="write `postgresql://USER@HOST:PORT/DATABASE`, or `host=… dbname=…`; a password with odd"
                " characters must be percent-encoded",
            ) from None

    def _set(self, connection: Connection) -> None:
        settings = {
            "search_path": '"' + self.schema.replace('"', '""') + '"',
            "lock_timeout": str(round(self.lock * 1000)),
            "statement_timeout": str(round(self.statement * 1000)),
            # Who freezes inside a transaction must not keep its locks for ever.
            "idle_in_transaction_session_timeout": str(round(self.statement * 1000)),
        }
        given = [word for pair in settings.items() for word in pair]
        calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
        connection.execute(f"select {calls}", given)
        connection.execute(
            "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"
        )


class Session:
    """One connection for one caller at a time; a lost one is made again, and the work done again."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._there = False

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def open(self) -> None:
        """Connect, once, and look whether the tables are ours. Raises StateError with the reason and a fix."""
        self._done(self._known, patience=0)

    def read(self, work: Callable[[Connection], T], nothing: T) -> T:
        """Do it; ``nothing`` as long as nobody has made the tables."""
        return self._done(lambda connection: work(connection) if self._known(connection) else nothing)

    def write(self, work: Callable[[Connection], T], patience: float | None = None) -> T:
        """Do it in one pipelined transaction, the tables made where there are none.

        After a lost connection it is done again, so ``work`` must find out what an earlier try has left behind.
        """

        def whole(connection: Connection) -> T:
            if not self._known(connection):
                self.server.make(connection)
            with connection.pipeline(), connection.transaction():
                return work(connection)

        return self._done(whole, patience)

    @contextmanager
    def aside(self) -> Iterator[Connection | None]:
        """Another connection, for one long reading; None as long as nobody has made the tables."""
        if not self.read(lambda _: True, False):
            yield None
            return
        try:
            with self.server.connection() as connection:
                yield connection
        except Unreachable as error:
            raise problems.unreachable(self.server.place, _told(error.why)) from error.why
        except psycopg.OperationalError as error:
            if error.sqlstate is None or isinstance(error, GONE):
                raise problems.unreachable(self.server.place, _told(error)) from error
            raise self.server.translated(error) from error
        except psycopg.Error as error:
            raise self.server.translated(error) from error

    def _done(self, work: Callable[[Connection], T], patience: float | None = None) -> T:
        until = time.monotonic() + (self.server.reconnect if patience is None else patience)
        with self._lock:
            for pause in chain(PAUSES, repeat(PAUSES[-1])):
                try:
                    return work(self._connected())
                except psycopg.Error as error:
                    if not self._lost(error):
                        raise self.server.translated(error) from error
                    problem, why = problems.unreachable(self.server.place, _told(error)), error
                except Unreachable as error:
                    problem, why = problems.unreachable(self.server.place, _told(error.why)), error.why
                    if why.sqlstate and why.sqlstate[:2] in FINAL:
                        raise problem from why
                finally:
                    self._expect_idle()
                if time.monotonic() >= until:
                    raise problem from why
                if pause == PAUSES[0]:
                    log.warning("connecting to %s again: %s", self.server.place, problem.problems[0].cause)
                time.sleep(pause)
        raise AssertionError("pauses without end")

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self.server.connection()
        return self._connection

    def _known(self, connection: Connection) -> bool:
        self._there = self._there or self.server.layout(connection) is not None
        return self._there

    def _lost(self, error: psycopg.Error) -> bool:
        return self._connection is None or self._connection.closed or isinstance(error, GONE)

    def _expect_idle(self) -> None:
        """A connection that an error or an interrupt left in the middle of something is not used again."""
        idle = psycopg.pq.TransactionStatus.IDLE
        if self._connection is not None and self._connection.info.transaction_status != idle:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _told(error: psycopg.Error) -> str:
    text = " ".join(str(error).split())
    return f"{text} ({error.sqlstate})" if error.sqlstate else text or type(error).__name__
