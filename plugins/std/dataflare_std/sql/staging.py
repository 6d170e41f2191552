"""What targets of all databases do alike: rows staged by lane and epoch, moved by one transaction that notes the epoch.

Each lane stages an epoch in a table of its own, in short transactions, so lanes and readers seldom wait for one
another. The commit moves all lanes' rows in one transaction and notes the epoch in ``dataflare_epochs``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from dataflare import Failed, Fenced, crash
from dataflare_std.sql import statements
from dataflare_std.sql.shape import TableShape
from dataflare_std.sql.statements import SEQUENCE, STAGED_OP, quoted
from dataflare_std.sql.target import OP, Owner, Refusal, Staged, Table

if TYPE_CHECKING:
    import pyarrow as pa


class StagingTarget(ABC):
    """One connection of one lane. What differs between databases is below ``close``."""

    lane_lock: ClassVar[str] = ""
    """How a reading of a lane's note ends, so that nobody changes it meanwhile."""
    sequence: ClassVar[str] = "BIGINT"
    """The type of the column that counts staged rows."""
    clearing: ClassVar[str] = "TRUNCATE TABLE"
    """How a statement begins that empties a stage."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._name = quoted(table.name)
        self._shape = TableShape()
        self._schema: pa.Schema | None = None
        self._staged_as: tuple[str, dict[str, str]] = ("", {})
        self._replaces = False

    def claim(self, owner: Owner, live: Iterable[str], first: bool, replaces: bool) -> None:
        """Bookkeeping tables, fence, and an end to what dead attempts have staged."""
        self._replaces = replaces
        with self._transaction(durable=True):
            self._alone()
            for text in statements.BOOKKEEPING:
                self._rows(text)
            # All lanes: an older run may have had more of them.
            newest = self._rows(statements.NEWEST_FENCE, _sink(owner))[0][0] or 0
            if newest > owner.fence:
                raise self._fenced(owner, newest, owner.fence)
            self._rows(statements.RAISE_LANES, (owner.fence, *_sink(owner), owner.fence))
            self._rows(statements.RAISE_FENCE, (*_lane(owner), owner.fence))
            self._drop(set(self._dead_stages(owner, first)).difference(live))

    def epoch(self, owner: Owner) -> int | None:
        """The last epoch of this sink in the database."""
        with self._reading():
            if not self._columns_of("dataflare_epochs"):
                return None
            found: int | None = self._rows(statements.LAST_EPOCH, _sink(owner))[0][0]
            return found

    def holds_rows(self) -> bool:
        """Whether the table has any row."""
        with self._reading():
            return self._exists() and bool(self._rows(f"SELECT 1 FROM {self._name} LIMIT 1"))

    def stage(self, owner: Owner, epoch: int, rows: pa.RecordBatch) -> list[Refusal]:
        """Put rows aside; those that the table would refuse are left out and named."""
        stage, schema = owner.stage(epoch), rows.schema
        with self._transaction(durable=False):
            self._check_fence(owner, owner.fence)
            shape = self._shaped(schema)
            types = self._stage_types(schema, shape)
            types = {STAGED_OP if name == OP else name: kind for name, kind in types.items()}
            self._make_stage(stage, owner, epoch, types, shape)
            refused = self._fill(stage, rows.rename_columns(list(types)), shape)
        self._shape, self._schema, self._staged_as = shape, schema, (stage, types)
        return refused

    def prepare(self, owner: Owner, epoch: int, rows: int) -> None:
        """Make the stage durable; a table with constraints is tried out with the rows of all lanes."""
        stage = owner.stage(epoch)
        with self._transaction(durable=True):
            self._check_fence(owner, owner.fence)
            there = bool(self._columns_of(stage))
            staged = self._rows(f"SELECT count(*) FROM {quoted(stage)}")[0][0] if there else 0
            if staged != rows:
                raise lost_rows(f"{rows} rows were staged for epoch {epoch}, the database holds {staged}")
            # a write, so that this commit reaches the disk, and with it all that was staged before
            self._rows("UPDATE dataflare_stages SET epoch = ? WHERE name = ?", (epoch, stage))
        before, self._shape = self._shape, self._shape_now()
        if self._shape.guarded or self._shape != before or self._replaces:
            self._try_out(owner, epoch)

    def commit(self, tokens: Sequence[Staged], fence: int) -> None:
        """Move what the tokens name, unless their epoch is noted already."""
        if not tokens:
            return
        with self._transaction(durable=True):
            if any(token.replace for token in tokens) and not self._committed(tokens[0]) and self._exists():
                self._rows(f"DELETE FROM {self._name}")
            for token in sorted(tokens, key=lambda token: token.lane):
                self._commit_lane(token, fence)
            self._drop(token.stage for token in tokens)
            crash.point("sink-move")
        self._replaces = False

    def put(self, owner: Owner, rows: pa.RecordBatch) -> list[Refusal]:
        """Stage the rows and move them. Those of an attempt that broke off are moved again, which changes nothing."""
        refused, stage = self.stage(owner, 0, rows), owner.stage(0)
        with self._transaction(durable=False):
            self._check_fence(owner, owner.fence)
            self._move(stage)
            self._rows(f"{self.clearing} {quoted(stage)}")
            crash.point("sink-put")
        return refused

    def flush(self, owner: Owner) -> None:
        """With a transaction that is durable itself."""
        with self._transaction(durable=True):
            self._check_fence(owner, owner.fence)
            self._rows(statements.SAME_FENCE, (owner.fence, *_lane(owner)))

    def knows(self, owner: Owner) -> bool:
        """Whether a lane of the sink has its note."""
        return self.epoch(owner) is not None

    def empty(self) -> None:
        """Take all rows out of the table."""
        with self._transaction(durable=True):
            if self._exists():
                self._rows(f"DELETE FROM {self._name}")

    def discard(self, stages: Iterable[str]) -> None:
        """Drop staged rows."""
        with self._transaction(durable=False):
            self._drop(stages)
        self._staged_as = ("", {})

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    @abstractmethod
    def _transaction(self, *, durable: bool) -> AbstractContextManager[None]:
        """Everything or nothing; ``durable``: on the disk when it ends. What is not may be lost with the machine."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[None]:
        """For what only reads."""

    @abstractmethod
    def _undone(self) -> AbstractContextManager[None]:
        """What happens inside leaves no trace. Not inside a transaction."""

    @abstractmethod
    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, with a ``?`` for each value."""

    @abstractmethod
    def _columns_of(self, table: str) -> list[str]:
        """The columns of one of our own tables; none if it is not there."""

    @abstractmethod
    def _shape_now(self) -> TableShape:
        """The table as it is; no columns if it is not there."""

    @abstractmethod
    def _make_room(self, schema: pa.Schema) -> TableShape:
        """Make the table, its missing columns and the index of its key; change nothing that is there."""

    @abstractmethod
    def _stage_types(self, schema: pa.Schema, shape: TableShape) -> dict[str, str]:
        """The type of each staged column."""

    @abstractmethod
    def _fill(self, stage: str, rows: pa.RecordBatch, shape: TableShape) -> list[Refusal]:
        """Put rows into a stage, but those that the table would refuse."""

    def _values_of(self, stage: str) -> dict[str, str]:
        """The columns of a stage, and how the value of each is read for the table."""
        return {name: quoted(name) for name in self._columns_of(stage)}

    @abstractmethod
    def _alone(self) -> None:
        """Wait until no other lane makes or tries tables, until the transaction ends."""

    @abstractmethod
    def _index_stage(self, stage: str, names: Iterable[str], shape: TableShape) -> None:
        """Make what a new stage needs besides its columns."""

    def _exists(self) -> bool:
        return bool(self._shape_now().columns)

    def _shaped(self, schema: pa.Schema) -> TableShape:
        if self._schema is not None and self._schema.equals(schema):
            return self._shape
        self._alone()
        return self._make_room(schema)

    def _make_stage(self, stage: str, owner: Owner, epoch: int, types: Mapping[str, str], shape: TableShape) -> None:
        if self._staged_as == (stage, types):
            return
        if self._staged_as[0] == stage:
            self._widen_stage(stage, types)
        else:
            self._drop([stage])
            self._rows(statements.create_stage(stage, self.sequence, types))
            place = (stage, *_lane(owner), epoch, owner.fence, self._table.name)
            self._rows("INSERT INTO dataflare_stages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", place)
        self._index_stage(stage, types, shape)

    def _widen_stage(self, stage: str, types: Mapping[str, str]) -> None:
        known, before = set(self._columns_of(stage)), self._staged_as[1]
        for name, kind in types.items():
            if name not in known:
                default = " DEFAULT 'upsert'" if name == STAGED_OP else ""
                self._rows(f"ALTER TABLE {quoted(stage)} ADD COLUMN {quoted(name)} {kind}{default}")
            elif before.get(name, kind) != kind:
                change = f"ALTER COLUMN {quoted(name)} SET DATA TYPE {kind} USING CAST({quoted(name)} AS {kind})"
                self._rows(f"ALTER TABLE {quoted(stage)} {change}")

    def _try_out(self, owner: Owner, epoch: int) -> None:
        lanes = (*_sink(owner), epoch, owner.fence)
        with self._undone():
            self._alone()
            self._emptied()
            for (stage,) in self._rows(statements.LANES_OF_EPOCH, lanes):
                self._move(stage)

    def _commit_lane(self, token: Staged, fence: int) -> None:
        owner = Owner(token.incarnation, token.flow, token.sink, token.lane, fence)
        noted = self._check_fence(owner, fence)
        if noted >= token.epoch:
            return
        if token.rows:
            self._move_staged(token)
        self._rows(statements.NOTE_EPOCH, (*_lane(owner), token.epoch, fence))

    def _move_staged(self, token: Staged) -> None:
        if not self._columns_of(token.stage):
            raise Failed.of(
                "sql.staged_missing",
                f"the {token.rows} rows staged for epoch {token.epoch} in {token.stage} are gone",
                cause="the epoch is decided, but neither staged rows nor a note of its commit are in the database",
                fix="restore the database, or settle the epoch with `dataflare state resolve`",
            )
        self._move(token.stage)

    def _move(self, stage: str, only: str = "") -> None:
        values = self._values_of(stage)
        data = {name: value for name, value in values.items() if name not in (SEQUENCE, STAGED_OP)}
        for text in statements.move(self._name, stage, data, self._table.key, STAGED_OP in values, only):
            self._rows(text)

    def _stages_beside(self, stage: str) -> list[str]:
        """The stages of the other lanes in the same epoch and attempt."""
        return [name for (name,) in self._rows(statements.STAGES_BESIDE, (stage,))]

    def _emptied(self) -> None:
        """What a trial sees of the table that the first commit replaces."""
        if self._replaces and self._exists():
            self._rows(f"DELETE FROM {self._name}")

    def _committed(self, token: Staged) -> bool:
        return bool(self._rows(statements.LAST_EPOCH, (token.incarnation, token.flow, token.sink))[0][0])

    def _check_fence(self, owner: Owner, fence: int) -> int:
        """The epoch that the lane's note holds. Raises Fenced if a newer owner has been here."""
        found = self._rows(statements.LANE + self.lane_lock, _lane(owner))
        epoch, newest = found[0] if found else (0, 0)
        if newest > fence:
            raise self._fenced(owner, newest, fence)
        return int(epoch)

    def _fenced(self, owner: Owner, newest: int, fence: int) -> Fenced:
        return Fenced.of(
            "sql.fenced",
            f"a newer run of flow `{owner.flow}` writes to `{self._table.name}`: this one must stop",
            cause=f"its fencing token is {newest}, this one has {fence}",
        )

    def _dead_stages(self, owner: Owner, first: bool) -> Iterator[str]:
        staged = self._rows(
            "SELECT name, incarnation, fence FROM dataflare_stages WHERE flow = ? AND sink = ? AND target = ?",
            (owner.flow, owner.sink, self._table.name),
        )
        for name, incarnation, fence in staged:
            # other lives of this flow are over once a new one begins
            if (incarnation == owner.incarnation and fence < owner.fence) or (
                incarnation != owner.incarnation and first
            ):
                yield name

    def _drop(self, stages: Iterable[str]) -> None:
        for stage in stages:
            self._rows(f"DROP TABLE IF EXISTS {quoted(stage)}")
            self._rows("DELETE FROM dataflare_stages WHERE name = ?", (stage,))


def lost_rows(what: str) -> Failed:
    """Staged rows that are gone before their epoch was decided (a database that crashed): the epoch comes again."""
    return Failed.of("sql.staged_rows", what, kind="retry", fix="nothing: the epoch is repeated from its beginning")


def _sink(owner: Owner) -> tuple[str, str, str]:
    return owner.incarnation, owner.flow, owner.sink


def _lane(owner: Owner) -> tuple[str, str, str, int]:
    return (*_sink(owner), owner.lane)
