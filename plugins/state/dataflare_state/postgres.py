"""The store in a PostgreSQL database: for flows that may run on several machines, and for databases that are backed up.

Every change is one pipelined transaction that locks the lease's row and compares the fencing token: a takeover and a
commit come one after the other. A commit whose connection is lost is sent again, and finds its epoch if the first one
came through: what it returns is known. Keyed state is one row a key, so an epoch costs what it changed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from dataflare import Duration, Secret, crash, field
from dataflare.checkpoint import Changes, Checkpoint, EpochInfo, LeaseInfo, Letter, LetterStatus
from dataflare.context import Context
from dataflare.errors import StateError
from dataflare.store import Store
from dataflare_state import packing, problems, rules, sums
from dataflare_state.postgres_rows import (
    file_letters,
    history_of,
    keep_checkpoint,
    keep_state,
    sealed_checkpoint,
    sound_letter,
)
from dataflare_state.rows import COLUMNS, Unsound

if TYPE_CHECKING:
    from dataflare_state.server import Connection, Session

T = TypeVar("T")
AT_ONCE = 10_000
LETTERS_AT_ONCE = 1_000
SITTING = 2.0
"""Seconds that a takeover waits for a session that holds the lease's row."""

LEASE = "select token, taking from lease where flow = %s and region = %s for update"
END_HOLDER = (
    "with held as (select xmax as by from lease where flow = %(flow)s and region = %(region)s "
    "union select xmax from heartbeat where flow = %(flow)s and region = %(region)s) "
    "select pg_terminate_backend(holder.pid) from held join pg_locks holder on holder.transactionid = held.by "
    "where holder.locktype = 'transactionid' and holder.granted"
)


class Postgres(Store, name="postgres", shared="any"):
    """Keeps state in a PostgreSQL database; runners on any machine that reaches it can share it."""

    dsn: Secret = field(
        help="The database: `postgresql://USER@HOST/DATABASE`, best as `${secret:NAME}`; a password is never shown."
    )
    schema: str = field(default="dataflare", help="The schema of the tables; made where there is none.")
    connect_timeout: Duration = field(default=10.0, help="How long to wait for a connection.", advanced=True)
    lock_timeout: Duration = field(
        default=10.0, help="How long to wait for another session that is writing before giving up.", advanced=True
    )
    statement_timeout: Duration = field(default=60.0, help="How long one statement may take.", advanced=True)
    reconnect: Duration = field(
        default=30.0, help="How long to try to reach a server that went away before giving up.", advanced=True
    )

    _session: Session
    _pulse: Session

    def open(self, ctx: Context) -> None:
        """Connect and look at the tables if there are some; the first write makes them. Raises StateError."""
        from dataflare_state.server import Server, Session

        waits = (self.connect_timeout, self.lock_timeout, self.statement_timeout, self.reconnect)
        server = Server(self.dsn.get(), self.schema, *waits)
        # Heartbeats go by a connection of their own: a long commit must not look like a dead owner.
        self._session, self._pulse = Session(server), Session(server)
        self._session.open()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self._pulse.close()

    def lease_info(self, flow: str, region: str) -> LeaseInfo | None:
        """Who holds the region, or None."""
        row = self._one(
            "select token, owner, beat, released from lease join heartbeat using (flow, region, token) "
            "where flow = %s and region = %s",
            flow,
            region,
        )
        return LeaseInfo(*row) if row else None

    def lease(self, flow: str, region: str, owner: str, above: int) -> int:
        """Take the lease with the token ``above`` + 1; a session that sits on its row is ended."""
        taking = uuid.uuid4()

        def take(connection: Connection) -> int:
            connection.execute("select set_config('lock_timeout', %s, true)", (f"{min(self.lock_timeout, SITTING)}s",))
            if above:
                query = (
                    "update lease set token = token + 1, owner = %(owner)s, released = false, taking = %(taking)s "
                    "where flow = %(flow)s and region = %(region)s and token = %(above)s returning token"
                )
            else:
                query = (
                    "insert into lease values (%(flow)s, %(region)s, 1, %(owner)s, false, %(taking)s) "
                    "on conflict do nothing returning token"
                )
            given = {"flow": flow, "region": region, "owner": owner, "above": above, "taking": taking}
            if connection.execute(query, given).fetchone() is None:
                newest, mine = _lease(connection, flow, region)
                if mine != taking:
                    raise problems.fenced(flow, region, above, newest)
                return newest  # the answer to an earlier try was lost
            connection.execute(
                "insert into heartbeat values (%s, %s, %s, 0) on conflict (flow, region) "
                "do update set token = excluded.token, beat = 0",
                (flow, region, above + 1),
            )
            crash.point("store-lease")
            return above + 1

        return self._insisting(flow, region, take)

    def beat(self, flow: str, region: str, fence: int) -> None:
        """Move the heartbeat."""

        def move(connection: Connection) -> None:
            moved = connection.execute(
                "update heartbeat set beat = beat + 1 where flow = %s and region = %s and token = %s returning beat",
                (flow, region, fence),
            )
            if moved.fetchone() is None:
                raise problems.fenced(flow, region, fence, _lease(connection, flow, region)[0])

        self._pulse.write(move)

    def release(self, flow: str, region: str, fence: int) -> None:
        """Give the lease back."""
        mark = "update lease set released = true where flow = %s and region = %s and token = %s"
        # Where the server is gone it lapses by itself: nobody waits for that at the end of a run.
        self._session.write(lambda connection: connection.execute(mark, (flow, region, fence)), patience=0)

    def load(self, flow: str, region: str, epoch: int | None = None) -> Checkpoint | None:
        """The last committed epoch, or a kept older one."""
        found, damage, read = self._read(flow, region, epoch)
        if damage:
            raise problems.corrupt(flow, region, damage, self._intact(flow, region, read))
        return found

    def _read(self, flow: str, region: str, epoch: int | None) -> tuple[Checkpoint | None, str, int]:
        """A checkpoint or what is damaged of it, and its epoch."""
        kept = self._session.read(partial(sealed_checkpoint, flow=flow, region=region, epoch=epoch), None)
        if kept is None:
            return None, "", 0
        row, blobs = kept
        number, body, seal, incarnation, settled, finished, at, told = row
        if told != sums.of_row(flow, region, number, seal, incarnation, settled, finished, at):
            return None, f"the checkpoint of epoch {number}", number
        found, damage = packing.unsealed((flow, region, number), body, seal, dict(blobs))
        return found and replace(found, settled=settled), damage, number

    def _intact(self, flow: str, region: str, below: int) -> int | None:
        older = (info.epoch for info in self.history(flow, region) if info.epoch < below)
        return next((epoch for epoch in older if self._read(flow, region, epoch)[0]), None)

    def state(self, flow: str, region: str, step: str, name: str) -> Iterator[tuple[bytes, bytes, float | None]]:
        """All live keys of a state, as they were when the first is asked for."""
        # A connection of its own: one moment's content, whatever is committed meanwhile.
        with self._session.aside() as connection:
            if connection is None:
                return
            with connection.transaction(), connection.cursor("state", binary=True) as cursor:
                cursor.execute(
                    "select coalesce(key, place), value, expires, sum from keyed join state on keyed.state = state.id "
                    "where flow = %s and region = %s and step = %s and name = %s "
                    "and (expires is null or expires > %s)",
                    (flow, region, step, name, time.time()),
                )
                while rows := cursor.fetchmany(AT_ONCE):
                    for key, value, expires, told in rows:
                        if told != sums.of_key(key, value, expires):
                            raise problems.corrupt(flow, region, f"a key of the state `{name}` of `{step}`", None)
                        yield key, value, expires

    def states(self, flow: str, region: str) -> list[tuple[str, str]]:
        """The (step, name) pairs that keys were kept for."""
        return sorted(self._all("select step, name from state where flow = %s and region = %s", flow, region))

    def commit(self, checkpoint: Checkpoint, changes: Changes, fence: int) -> None:
        """The commit point: all of it, or an error and none of it."""
        checkpoint = rules.dated(checkpoint)
        flow, region, epoch = checkpoint.flow, checkpoint.region, checkpoint.epoch
        body, blobs = packing.text(checkpoint)
        sealed = packing.digest(flow, region, epoch, body)
        tries = count(1)

        def write(connection: Connection) -> None:
            # All is sent before the first answer is looked at; nothing holds before the end.
            again = next(tries) > 1
            expect = self._fence(connection, flow, region, fence)
            last = connection.execute(
                "select incarnation, epoch, digest from checkpoint where flow = %s and region = %s "
                "order by epoch desc limit 1",
                (flow, region),
            )
            keep_checkpoint(connection, checkpoint, body, sealed, blobs)
            keep_state(connection, flow, region, changes.state)
            file_letters(connection, flow, changes, checkpoint.committed_at)
            expect()
            incarnation, kept, seal = last.fetchone() or (None, -1, "")
            if again and (kept, seal) == (epoch, sealed):
                raise _Committed
            rules.admit(checkpoint, incarnation, kept)
            crash.point("store-commit")

        with suppress(_Committed):
            self._insisting(flow, region, write)
        crash.point("store-committed")

    def settle(self, flow: str, region: str, epoch: int, fence: int) -> None:
        """All sinks have committed the epoch."""

        def mark(connection: Connection) -> None:
            self._fence(connection, flow, region, fence)()
            connection.execute(
                "update checkpoint set settled = true, sum = settled_sum "
                "where flow = %s and region = %s and epoch = %s",
                (flow, region, epoch),
            )

        self._session.write(mark)

    def history(self, flow: str, region: str) -> list[EpochInfo]:
        """The kept epochs, newest first."""
        return self._session.read(partial(history_of, flow=flow, region=region), [])

    def prune(self, flow: str, region: str, keep: int) -> list[int]:
        """Forget all but the newest ``keep`` settled epochs and what is unsettled or last."""
        if not rules.prunable(self.history(flow, region), keep):
            return []

        def forget(connection: Connection) -> list[int]:
            # With the lease's row locked: a commit may just begin to use a snapshot that nothing else uses.
            _lease(connection, flow, region)
            gone = rules.prunable(history_of(connection, flow, region), keep)
            of = (flow, region)
            for table in ("checkpoint", "blob_use"):
                connection.execute(
                    f"delete from {table} where flow = %s and region = %s and epoch = any(%s)", (*of, gone)
                )
            connection.execute(
                "delete from blob where flow = %s and region = %s and digest not in "
                "(select digest from blob_use where flow = %s and region = %s)",
                of * 2,
            )
            return gone

        return self._session.write(forget)

    def flows(self) -> list[tuple[str, str]]:
        """The (flow, region) pairs known here."""
        return sorted(self._all("select flow, region from lease union select flow, region from checkpoint"))

    def reset(self, flow: str, region: str, fence: int) -> None:
        """Forget what was kept, but not the lease's token."""

        def forget(connection: Connection) -> None:
            self._fence(connection, flow, region, fence)()
            of = (flow, region)
            for table in ("checkpoint", "blob_use", "blob"):
                connection.execute(f"delete from {table} where flow = %s and region = %s", of)
            connection.execute(
                "delete from keyed using state where keyed.state = state.id and flow = %s and region = %s", of
            )
            connection.execute("delete from state where flow = %s and region = %s", of)
            connection.execute("delete from letter where flow = %s and region = %s and status = 'waiting'", of)

        self._session.write(forget)

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
        chosen = {"flow": flow, "step": step, "code": code, "status": status}
        given = {column: value for column, value in chosen.items() if value is not None}
        where = " and ".join([*(f"{column} = %s" for column in given), "id > %s"])
        query = f"select {', '.join(COLUMNS)}, sum from letter where {where} order by id limit %s"
        while limit is None or limit > 0:
            wanted = min(LETTERS_AT_ONCE, limit or LETTERS_AT_ONCE)
            rows = self._all(query, *given.values(), after, wanted)
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

    def drop_letters(self, flow: str, ids: Iterable[int]) -> int:
        """Mark waiting letters dropped; how many were."""
        query = (
            "update letter set status = 'dropped' where flow = %s and id = any(%s) and status = 'waiting' returning id"
        )
        return len(self._all(query, flow, sorted(set(ids))))

    def _all(self, query: str, *given: Any) -> list[Any]:
        nothing: list[Any] = []
        return self._session.read(lambda connection: connection.execute(query, given).fetchall(), nothing)

    def _one(self, query: str, *given: Any) -> Any:
        return next(iter(self._all(query, *given)), None)

    def _fence(self, connection: Connection, flow: str, region: str, fence: int) -> Callable[[], None]:
        """Lock the lease's row; what is returned looks at the answer and raises Fenced."""
        answer = connection.execute(LEASE, (flow, region))

        def expect() -> None:
            newest = next(iter(answer.fetchone() or (0,)))
            if fence != newest or not newest:
                raise problems.fenced(flow, region, fence, newest)

        return expect

    def _insisting(self, flow: str, region: str, work: Callable[[Connection], T]) -> T:
        """Do it; where a session sits on the lease's row or its heartbeat's, end that session and do it again.

        It is a frozen owner's that was taken over, or our own whose connection is lost without the server knowing.
        """
        try:
            return self._session.write(work)
        except StateError as error:
            if error.code != "state.locked":
                raise
        self._session.write(lambda connection: connection.execute(END_HOLDER, {"flow": flow, "region": region}))
        return self._session.write(work)


class _Committed(Exception):
    """An earlier try came through."""


def _lease(connection: Connection, flow: str, region: str) -> tuple[int, uuid.UUID | None]:
    """The newest token and who took it, the row locked."""
    row = connection.execute(LEASE, (flow, region)).fetchone()
    return (row[0], row[1]) if row else (0, None)
