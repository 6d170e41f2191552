"""The store in one SQLite file: the default, and the one to take where everything runs on one machine.

Every change is one ``BEGIN IMMEDIATE`` transaction that first compares the fencing token, in WAL mode with
``synchronous=FULL``: after an error, a crash or a power cut the file holds the old state or the new one, whole.
Keyed state is kept as pieces, each what an epoch changed, merged from time to time: an epoch costs what it changed.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataflare import Duration, crash, field
from dataflare.checkpoint import Changes, Checkpoint, EpochInfo, LeaseInfo, Letter, LetterStatus
from dataflare.context import Context
from dataflare.store import Store
from dataflare_state import database, packing, pieces, problems, rules, sums
from dataflare_state.rows import (
    COLUMNS,
    Unsound,
    check_letters,
    file_letters,
    keep_state,
    sound_letter,
    sound_piece,
    sound_states,
)

AT_ONCE = 10_000


class Sqlite(Store, name="sqlite"):
    """Keeps state in one SQLite file on a local disk; runners on this machine can share it."""

    path: str = field(default=".dataflare/state.db", help="The file; relative to the folder of the flow.")
    wait: Duration = field(
        default=5.0, help="How long to wait for another process that is writing before giving up.", advanced=True
    )

    _path: Path
    _lock: threading.RLock
    _connection: sqlite3.Connection | None

    def open(self, ctx: Context) -> None:
        """Open the file if there is one; the first write makes it. Raises StateError with the reason and a fix."""
        self._path, self._lock, self._connection = ctx.path(self.path), threading.RLock(), None
        self._connected()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def lease_info(self, flow: str, region: str) -> LeaseInfo | None:
        """Who holds the region, or None."""
        query = "select token, owner, beat, released, sum from lease where flow = ? and region = ?"
        row = self._one(query, flow, region)
        if row is None:
            return None
        if row[4] != sums.of_row(flow, region, row[0], row[1]):
            raise problems.corrupt(flow, region, "its lease", None)
        return LeaseInfo(row[0], row[1], row[2], bool(row[3]))

    def lease(self, flow: str, region: str, owner: str, above: int) -> int:
        """Take the lease with the token ``above`` + 1."""
        with self._writing() as connection:
            newest = _newest(connection, flow, region)
            if newest != above:
                raise problems.fenced(flow, region, above, newest)
            connection.execute(
                "insert into lease values (?, ?, ?, ?, 0, 0, -1, 0, 0, ?) on conflict do update set "
                "token = excluded.token, owner = excluded.owner, beat = 0, released = 0, sum = excluded.sum",
                (flow, region, above + 1, owner, sums.of_row(flow, region, above + 1, owner)),
            )
            crash.point("store-lease")
        return above + 1

    def beat(self, flow: str, region: str, fence: int) -> None:
        """Move the heartbeat."""
        with self._fenced(flow, region, fence) as connection:
            connection.execute("update lease set beat = beat + 1 where flow = ? and region = ?", (flow, region))

    def release(self, flow: str, region: str, fence: int) -> None:
        """Give the lease back."""
        with self._writing() as connection:
            connection.execute(
                "update lease set released = 1 where flow = ? and region = ? and token = ?", (flow, region, fence)
            )

    def load(self, flow: str, region: str, epoch: int | None = None) -> Checkpoint | None:
        """The last committed epoch, or a kept older one."""
        with self._moment():
            return self._load(flow, region, epoch)

    def _load(self, flow: str, region: str, epoch: int | None) -> Checkpoint | None:
        last = max((row.epoch for row in self._history(flow, region)), default=-1)
        if epoch is None:
            told = self._one("select epoch from lease where flow = ? and region = ?", flow, region)
            if last != (told[0] if told else -1):
                what = f"its last epoch is {told[0] if told else 'not told'}, and {last} is the newest there"
                raise problems.corrupt(flow, region, what, self._intact(flow, region, last + 1))
            epoch = last
        if epoch < 0 or not any(row.epoch == epoch for row in self._history(flow, region)):
            return None
        found, damage = self._read(flow, region, epoch)
        if found is None:
            raise problems.corrupt(flow, region, damage, self._intact(flow, region, epoch))
        return found

    def _read(self, flow: str, region: str, epoch: int) -> tuple[Checkpoint | None, str]:
        with self._lock, database.speaking(self._path):
            connection = self._connected()
            assert connection is not None
            of = (flow, region, epoch)
            where = "where flow = ? and region = ? and epoch = ?"
            columns = "body, digest, incarnation, settled, finished, committed_at, sum"
            row = connection.execute(f"select {columns} from checkpoint {where}", of).fetchone()
            query = f"select digest, data from blob join blob_use using (flow, region, digest) {where}"
            blobs = connection.execute(query, of).fetchall()
        body, seal, *told, mark = row
        if mark != sums.of_row(*of, seal, *told):
            return None, f"the checkpoint of epoch {epoch}"
        found, damage = packing.unsealed(of, body, seal, dict(blobs))
        return found and replace(found, settled=bool(told[1])), damage

    def _intact(self, flow: str, region: str, below: int) -> int | None:
        older = (info.epoch for info in self._history(flow, region) if info.epoch < below)
        return next((epoch for epoch in older if self._read(flow, region, epoch)[0]), None)

    def state(self, flow: str, region: str, step: str, name: str) -> Iterator[tuple[bytes, bytes, float | None]]:
        """All live keys of a state, as they were when the first is asked for."""
        if self._connected() is None:
            return
        # A connection of its own: one moment's content, whatever is committed meanwhile.
        with closing(database.connect(self._path, self.wait)) as connection, database.speaking(self._path):
            connection.execute("begin")
            try:
                _, kept = sound_states(connection, flow, region).get((step, name), (0, []))
                contents = [sound_piece(connection, number, digest) for number, _, digest in kept]
            except Unsound as damage:
                what = f"the state `{name}` of `{step}`: {damage}"
                raise problems.corrupt(flow, region, what, None) from damage
        yield from pieces.live_keys(contents, time.time())

    def states(self, flow: str, region: str) -> list[tuple[str, str]]:
        """The (step, name) pairs that keys were kept for."""
        with self._moment(), database.speaking(self._path):
            connection = self._connected()
            try:
                return sorted(sound_states(connection, flow, region)) if connection is not None else []
            except Unsound as damage:
                raise problems.corrupt(flow, region, str(damage), None) from damage

    def commit(self, checkpoint: Checkpoint, changes: Changes, fence: int) -> None:
        """The commit point: all of it, or an error and none of it."""
        checkpoint = rules.dated(checkpoint)
        flow, region, epoch = checkpoint.flow, checkpoint.region, checkpoint.epoch
        body, blobs = packing.text(checkpoint)
        sealed = packing.digest(flow, region, epoch, body)
        with self._fenced(flow, region, fence) as connection:
            last = connection.execute(
                "select incarnation, epoch from checkpoint where flow = ? and region = ? order by epoch desc limit 1",
                (flow, region),
            ).fetchone()
            rules.admit(checkpoint, *(last or (None, -1)))
            told = (int(checkpoint.settled), int(checkpoint.finished), checkpoint.committed_at)
            mark = sums.of_row(flow, region, epoch, sealed, checkpoint.incarnation, *told)
            connection.execute(
                "insert into checkpoint values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (flow, region, epoch, checkpoint.incarnation, body, sealed, *told, mark),
            )
            connection.execute(
                "update lease set epoch = ?, epochs = epochs + 1 where flow = ? and region = ?", (epoch, flow, region)
            )
            for digest, data in blobs.items():
                connection.execute("insert or ignore into blob values (?, ?, ?, ?)", (flow, region, digest, data))
                connection.execute("insert into blob_use values (?, ?, ?, ?)", (flow, region, epoch, digest))
            try:
                keep_state(connection, flow, region, changes.state)
            except Unsound as damage:
                raise problems.corrupt(flow, region, f"its keyed state: {damage}", None) from damage
            file_letters(connection, flow, changes, checkpoint.committed_at)
            crash.point("store-commit")
        crash.point("store-committed")

    def settle(self, flow: str, region: str, epoch: int, fence: int) -> None:
        """All sinks have committed the epoch."""
        with self._fenced(flow, region, fence) as connection:
            of = (flow, region, epoch)
            where = "where flow = ? and region = ? and epoch = ?"
            columns = "digest, incarnation, finished, committed_at, settled, sum"
            row = connection.execute(f"select {columns} from checkpoint {where}", of).fetchone()
            if row is not None:
                seal, incarnation, finished, at, settled, told = row
                if told != sums.of_row(*of, seal, incarnation, settled, finished, at):
                    raise problems.corrupt(flow, region, f"the checkpoint of epoch {epoch}", None)
                mark = sums.of_row(*of, seal, incarnation, 1, finished, at)
                connection.execute(f"update checkpoint set settled = 1, sum = ? {where}", (mark, *of))

    def history(self, flow: str, region: str) -> list[EpochInfo]:
        """The kept epochs, newest first."""
        with self._moment():
            found = self._history(flow, region)
            told = self._one("select epochs from lease where flow = ? and region = ?", flow, region)
            if len(found) != (told[0] if told else 0):
                raise problems.corrupt(flow, region, "its history", self._intact(flow, region, sys.maxsize))
            return found

    def _history(self, flow: str, region: str) -> list[EpochInfo]:
        rows = self._all(
            "select epoch, committed_at, settled, finished, length(body) from checkpoint "
            "where flow = ? and region = ? order by epoch desc",
            flow,
            region,
        )
        return [EpochInfo(row[0], row[1], bool(row[2]), bool(row[3]), row[4]) for row in rows]

    def prune(self, flow: str, region: str, keep: int) -> list[int]:
        """Forget all but the newest ``keep`` settled epochs and what is unsettled or last."""
        if not rules.prunable(self.history(flow, region), keep):
            return []
        with self._writing() as connection:
            gone = rules.prunable(self.history(flow, region), keep)
            for table in ("checkpoint", "blob_use"):
                connection.executemany(
                    f"delete from {table} where flow = ? and region = ? and epoch = ?",
                    [(flow, region, epoch) for epoch in gone],
                )
            connection.execute(
                "update lease set epochs = epochs - ? where flow = ? and region = ?", (len(gone), flow, region)
            )
            connection.execute(
                "delete from blob where flow = ? and region = ? and digest not in "
                "(select digest from blob_use where flow = ? and region = ?)",
                (flow, region) * 2,
            )
        return gone

    def flows(self) -> list[tuple[str, str]]:
        """The (flow, region) pairs known here."""
        return self._all("select flow, region from lease union select flow, region from checkpoint order by 1, 2")

    def reset(self, flow: str, region: str, fence: int) -> None:
        """Forget what was kept, but not the lease's token."""
        with self._fenced(flow, region, fence) as connection:
            of = (flow, region)
            for table in ("checkpoint", "blob_use", "blob"):
                connection.execute(f"delete from {table} where flow = ? and region = ?", of)
            connection.execute(
                "delete from piece where number in (select json_extract(value, '$[0]') from state, json_each(pieces) "
                "where flow = ? and region = ?)",
                of,
            )
            connection.execute("delete from state where flow = ? and region = ?", of)
            connection.execute("update lease set epoch = -1, epochs = 0, states = 0 where flow = ? and region = ?", of)
            connection.execute("delete from letter where flow = ? and region = ? and status = 'waiting'", of)

    def letters(
        self,
        flow: str,
        *,
        step: str | None = None,
        code: str | None = None,
        status: LetterStatus | None = "waiting",
        after: int = 0,
        limit: int | None = None,
    ) -> Iterator[Letter]:
        """Dead letters in the order of their ids."""
        self._check_letters(flow)
        chosen = {"flow": flow, "step": step, "code": code, "status": status}
        given = {column: value for column, value in chosen.items() if value is not None}
        where = " and ".join([*(f"{column} = ?" for column in given), "id > ?"])
        while limit is None or limit > 0:
            wanted = min(AT_ONCE, limit or AT_ONCE)
            rows = self._all(
                f"select {', '.join(COLUMNS)}, sum from letter where {where} order by id limit ?",
                *given.values(),
                after,
                wanted,
            )
            for row in rows:
                try:
                    yield sound_letter(row)
                except Unsound as damage:
                    region = row[COLUMNS.index("region")]
                    raise problems.corrupt(flow, region, str(damage), None, letter=damage.letter) from damage
            if len(rows) < wanted:
                return
            after = rows[-1][COLUMNS.index("id")]
            limit = None if limit is None else limit - len(rows)

    def _check_letters(self, flow: str) -> None:
        with self._moment(), database.speaking(self._path):
            connection = self._connected()
            try:
                if connection is not None:
                    check_letters(connection, flow)
            except Unsound as damage:
                raise problems.corrupt(flow, "", str(damage), None) from damage

    def drop_letters(self, flow: str, ids: Iterable[int]) -> int:
        """Mark waiting letters dropped; how many were."""
        if self._connected() is None:
            return 0
        with self._writing() as connection:
            return connection.executemany(
                "update letter set status = 'dropped' where id = ? and flow = ? and status = 'waiting'",
                [(number, flow) for number in set(ids)],
            ).rowcount

    def _all(self, query: str, *given: Any) -> list[Any]:
        with self._lock, database.speaking(self._path):
            connection = self._connected()
            return connection.execute(query, given).fetchall() if connection is not None else []

    def _connected(self) -> sqlite3.Connection | None:
        """The connection; None as long as nobody has made the file."""
        with self._lock, problems.told(self._path):
            if self._connection is None and self._path.exists():
                self._connection = database.connect(self._path, self.wait)
            return self._connection

    def _one(self, query: str, *given: Any) -> Any:
        return next(iter(self._all(query, *given)), None)

    @contextmanager
    def _moment(self) -> Iterator[None]:
        """What is read inside is of one moment, whatever another process commits meanwhile."""
        with self._lock, database.speaking(self._path):
            connection = self._connected()
            if connection is None or connection.in_transaction:
                yield
                return
            connection.execute("begin")
            try:
                yield
            finally:
                connection.execute("rollback")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; any error leaves the file as it was."""
        with self._lock, database.speaking(self._path):
            if self._connected() is None:
                database.create(self._path)
            connection = self._connected()
            assert connection is not None
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    @contextmanager
    def _fenced(self, flow: str, region: str, fence: int) -> Iterator[sqlite3.Connection]:
        with self._writing() as connection:
            newest = _newest(connection, flow, region)
            if fence != newest or not newest:
                raise problems.fenced(flow, region, fence, newest)
            yield connection


def _newest(connection: sqlite3.Connection, flow: str, region: str) -> int:
    row = connection.execute("select token from lease where flow = ? and region = ?", (flow, region)).fetchone()
    return int(row[0]) if row else 0
