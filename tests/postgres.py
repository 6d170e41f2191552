"""A PostgreSQL server for tests: one a session, on a Unix socket in a folder of its own.

The machine's own PostgreSQL where one is installed, else the one that the package ``pgserver`` ships. Each test gets a
database of its own.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Postgres:
    """A server that is started, killed and restarted by its folder; ``dsn`` names one of its databases."""

    def __init__(self, programs: Path, options: str = "-c fsync=off") -> None:
        self._programs, self._options = programs, options
        # A socket's path is short, and the server's user must be able to enter the folder.
        self.folder = Path(tempfile.mkdtemp(prefix="dfpg-", dir="/tmp"))
        self._as = _owner() if os.geteuid() == 0 else None
        if self._as is not None:
            shutil.chown(self.folder, self._as)
        data = self.folder / "data"
        self._run("initdb", "-D", str(data), "-U", "dataflare", "-A", "trust", "-E", "UTF8", "--no-sync")
        self._data = data

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses='' -c max_connections=60 {self._options}"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", str(log), "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """Stop the server: ``immediate`` is as a crash, ``fast`` is in order."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-m", how, "stop")

    def dsn(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://dataflare@/{database}?host={self.folder}"

    def create(self, database: str) -> str:
        """Make a database; its address."""
        import psycopg

        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f'create database "{database}"'.encode())
        return self.dsn(database)

    def database(self, name: str) -> str:
        """The address of the database of that name, made by the first who asks."""
        import psycopg

        with suppress(psycopg.errors.DuplicateDatabase):
            return self.create(name)
        return self.dsn(name)

    def owner(self) -> str | None:
        """The user that the server runs as, where it is another one than ours."""
        return self._as

    def close(self) -> None:
        """Stop the server, if it runs, and remove its folder."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *words],
            user=self._as,
            group=None if self._as is None else pwd.getpwnam(self._as).pw_gid,
            cwd="/tmp",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=120,
            close_fds=True,
        )
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(f"{program}: {done.stdout}{log.read_text() if log.exists() else ''}")


def programs() -> Path:
    """The folder of the PostgreSQL programs: the newest installed, else those of ``pgserver``."""
    installed = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "pg_ctl").exists()]
    if installed:
        return max(installed, key=lambda path: float(path.parent.name))
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).resolve().parent
    spec = importlib.util.find_spec("pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("no PostgreSQL here: install it, or the package `pgserver`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _owner() -> str:
    """A user for a server that must not run as root."""
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError("no user `postgres` or `nobody` for a PostgreSQL server; it does not run as root")


@contextmanager
def server(options: str = "-c fsync=off") -> Iterator[Postgres]:
    """A started server; gone afterwards."""
    made = Postgres(programs(), options)
    try:
        made.start()
        yield made
    finally:
        made.close()


def fresh_name() -> str:
    """The name of a database that no other test has."""
    return f"t{os.getpid()}_{time.monotonic_ns()}"
