"""An SQLite file as a state store's database: opening, layout, and its errors in plain words."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from dataflare.errors import StateError
from dataflare_state import mounts, problems
from dataflare_state.durable import make_folder, sync_file, sync_folder

APPLICATION = 0x44466C77
LAYOUT = 1

TABLES = """
create table lease (
    flow text not null, region text not null, token integer not null, owner text not null,
    beat integer not null, released integer not null, epoch integer not null, epochs integer not null,
    states integer not null, sum integer not null, primary key (flow, region)
) without rowid;
create table checkpoint (
    flow text not null, region text not null, epoch integer not null, incarnation text not null,
    body text not null, digest text not null, settled integer not null, finished integer not null,
    committed_at text not null, sum integer not null, primary key (flow, region, epoch)
);
create table blob (
    flow text not null, region text not null, digest text not null, data text not null,
    primary key (flow, region, digest)
);
create table blob_use (
    flow text not null, region text not null, epoch integer not null, digest text not null,
    primary key (flow, region, epoch, digest)
) without rowid;
create table state (
    id integer primary key, flow text not null, region text not null, step text not null, name text not null,
    pieces text not null, sum integer not null, unique (flow, region, step, name)
);
create table piece (
    number integer not null, part integer not null, data blob not null, primary key (number, part)
);
create table letter (
    id integer primary key autoincrement, flow text not null, region text not null, step text not null,
    code text not null, message text not null, epoch integer not null, count integer not null,
    input text not null, plugin text not null, split text not null, place text not null,
    attempts integer not null, status text not null, at text not null, head integer not null, sum integer not null,
    rows blob not null
);
create index letter_status on letter (flow, status, id);
create table letters (flow text primary key, count integer not null) without rowid;
create trigger letter_new after insert on letter begin
    insert into letters values (new.flow, 1) on conflict (flow) do update set count = count + 1;
end;
create trigger letter_gone after delete on letter begin
    update letters set count = count - 1 where flow = old.flow;
end;
create table layout (number integer not null);
"""


def connect(path: Path, wait: float) -> sqlite3.Connection:
    """A connection in WAL mode with full synchronisation, its layout checked.

    Raises StateError: locked, unwritable, not a store, newer layout, on a network file system.
    """
    _refuse_network(path)
    with speaking(path):
        connection = _open(path, wait)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def create(path: Path) -> None:
    """Make an empty store at ``path`` where there is none; it appears whole, whoever else does the same."""
    _refuse_network(path)
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    with problems.told(path), speaking(path):
        make_folder(path.parent)
        try:
            connection = sqlite3.connect(aside, isolation_level=None)
            with closing(connection):
                # Nobody sees it yet: it is made durable as a whole, since a sync of each step would take longer.
                connection.execute("pragma synchronous = off")
                connection.executescript(f"begin; {TABLES} insert into layout values ({LAYOUT}); commit;")
                connection.execute(f"pragma application_id = {APPLICATION}")
                connection.execute("pragma journal_mode = wal")
            sync_file(aside)
            with suppress(FileExistsError):
                os.link(aside, path)
            sync_folder(path.parent)
        finally:
            for left in (aside, aside.with_name(aside.name + "-wal"), aside.with_name(aside.name + "-shm")):
                left.unlink(missing_ok=True)


@contextmanager
def speaking(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into StateErrors that name the file, the cause and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(path, error) from error
    except UnicodeDecodeError as error:
        raise problems.damaged(path, str(error)) from error


def _open(path: Path, wait: float) -> sqlite3.Connection:
    place = f"file:{quote(os.fspath(path.absolute()))}?mode=rw"
    return sqlite3.connect(place, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("pragma application_id").fetchone()[0]
    if application != APPLICATION:
        raise problems.foreign(path, "it is empty" if not path.stat().st_size else "it is another program's database")
    (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
    if mode != "wal":
        raise problems.unreadable(path, f"SQLite cannot keep its write-ahead log there (journal mode `{mode}`)")
    connection.execute("pragma synchronous = full")
    (found,) = connection.execute("select number from layout").fetchone()
    if found > LAYOUT:
        raise problems.newer_store(path, found, LAYOUT)


def _refuse_network(path: Path) -> None:
    kind = mounts.filesystem_of(path.parent, mounts.read_mounts())
    if kind in mounts.NETWORK:
        raise StateError.of(
            "state.network_filesystem",
            f"{path} lies on a network file system ({kind})",
            cause="SQLite's locks do not hold between machines there: two runners could both write",
            fix="put the store on a local disk, or use the store `state/file`",
        )


def _translated(path: Path, error: sqlite3.Error) -> StateError:
    name = getattr(error, "sqlite_errorname", None) or ""
    cause = f"{error}" + (f" ({name})" if name else "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StateError.of(
            "state.locked",
            f"{path} is locked by another process",
            cause=cause,
            fix="wait until the other process has written, or end it if it hangs (`fuser` shows it); then run again",
        )
    if name == "SQLITE_FULL":
        return problems.disk_full(path, cause)
    if name == "SQLITE_NOTADB":
        return problems.foreign(path, cause)
    if name.startswith("SQLITE_CORRUPT") or "decode" in cause.lower():
        return problems.damaged(path, cause)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return problems.unwritable(path, cause)
    return problems.unreadable(path, cause)
