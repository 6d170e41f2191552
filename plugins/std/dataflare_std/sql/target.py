"""What the SQL sink asks of a database: one small interface, so that another database is another module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from dataflare import Context

if TYPE_CHECKING:
    import pyarrow as pa

OP = "_op"
DELETE = "delete"
OPERATIONS = ("append", "upsert", DELETE)


@dataclass(frozen=True)
class Table:
    """What rows go into: its name, and in upsert mode the columns of its key."""

    name: str
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Owner:
    """Who writes: one lane of one sink of one flow, in one life of its state, under one fencing token."""

    incarnation: str
    flow: str
    sink: str
    lane: int
    fence: int

    @classmethod
    def of(cls, ctx: Context) -> Owner:
        """The owner that a lane's context stands for."""
        return cls(ctx.incarnation, ctx.flow, ctx.step, ctx.lane, ctx.fence)

    def stage(self, epoch: int) -> str:
        """The name of the staging table of an epoch; no other attempt has the same."""
        text = "\x00".join(map(str, (self.incarnation, self.flow, self.sink, self.lane, epoch, self.fence)))
        return "dataflare_stage_" + sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Staged:
    """The token of one lane's epoch: all that a commit needs to know."""

    stage: str
    incarnation: str
    flow: str
    sink: str
    lane: int
    epoch: int
    rows: int
    replace: bool = False


@dataclass(frozen=True)
class Refusal:
    """A row of a batch that the table would not take."""

    row: int
    code: str
    message: str


Misfits = tuple["pa.Array", str, str]
"""Rows whose value cannot be taken: a mask, a code, and what is wrong with it (``does not …``)."""


class Target(Protocol):
    """An open connection to the database of one table. Raises ``Retry`` where the database is busy."""

    def claim(self, owner: Owner, live: Iterable[str], first: bool, replaces: bool) -> None:
        """Make the bookkeeping tables, raise the fence, drop what dead attempts have left staged.

        ``live`` are stages that must stay; ``first``: this incarnation has not committed yet; ``replaces``: its
        first commit takes away the rows that are there. Raises Fenced.
        """

    def holds_rows(self) -> bool:
        """Whether the table has any row."""

    def epoch(self, owner: Owner) -> int | None:
        """The last epoch of this sink in the database, over all lanes."""

    def misfits(self, column: pa.Array) -> Misfits | None:
        """Rows whose value the database has no way to hold, if there can be any."""

    def stage(self, owner: Owner, epoch: int, rows: pa.RecordBatch) -> list[Refusal]:
        """Put rows aside for an epoch, making table and columns where missing; gives those that break a constraint."""

    def prepare(self, owner: Owner, epoch: int, rows: int) -> None:
        """Make what is staged durable and try whether the table takes it. Raises Failed, Fenced."""

    def commit(self, tokens: Sequence[Staged], fence: int) -> None:
        """One transaction: move what is staged, note the epoch; nothing where it is noted. Raises Fenced."""

    def put(self, owner: Owner, rows: pa.RecordBatch) -> list[Refusal]:
        """Bring rows into the table by their key, at once; gives those that break a constraint. Raises Fenced."""

    def flush(self, owner: Owner) -> None:
        """Make everything that was put durable. Raises Fenced."""

    def knows(self, owner: Owner) -> bool:
        """Whether this sink has claimed the target in this incarnation."""

    def empty(self) -> None:
        """Take all rows out of the table, if there is one."""

    def discard(self, stages: Iterable[str]) -> None:
        """Drop staged rows."""

    def rows(self, size: int) -> Iterator[Any]:
        """The rows of the table, in parts (any form of rows); none if there is no table yet."""

    def close(self) -> None:
        """Let go of the connection."""
