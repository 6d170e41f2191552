"""What the SQL sink asks of a database: one small interface, so that another database is another module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from dataflare import Context, Problem

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


class Target(Protocol):
    """An open connection to the database of one table. Raises ``Retry`` where the database is busy."""

    def claim(self, owner: Owner, live: Iterable[str], first: bool) -> None:
        """Make the bookkeeping tables, raise the fence, drop what dead attempts have left staged.

        ``live`` are stages that must stay; ``first``: this incarnation has not committed yet. Raises Fenced.
        """

    def holds_rows(self) -> bool:
        """Whether the table has any row."""

    def epoch(self, owner: Owner) -> int | None:
        """The last epoch of this sink in the database, over all lanes."""

    def stage(self, owner: Owner, epoch: int, columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> list[Refusal]:
        """Put rows aside for an epoch, making table and columns where missing; gives those that break a constraint."""

    def prepare(self, owner: Owner, epoch: int, rows: int) -> None:
        """Make what is staged durable and try whether the table takes it. Raises Failed, Fenced."""

    def commit(self, tokens: Sequence[Staged], fence: int) -> None:
        """One transaction: move what is staged, note the epoch; nothing where it is noted. Raises Fenced."""

    def discard(self, stages: Iterable[str]) -> None:
        """Drop staged rows."""

    def rows(self, size: int) -> Iterator[list[dict[str, Any]]]:
        """The rows of the table, in parts."""

    def close(self) -> None:
        """Let go of the connection."""


def open_target(uri: str, table: Table, ctx: Context) -> Target:
    """Connect to the database that the address names. Raises ConfigError, Failed (``sql.*``)."""
    from dataflare_std.sql.sqlite import SqliteTarget
    from dataflare_std.sql.sqlite_file import database_path

    return SqliteTarget(database_path(uri, ctx), table)


def check_target(uri: str, table: Table, ctx: Context, *, reach: bool) -> list[Problem]:
    """What is wrong with the address and the table; ``reach``: and could the sink work there now? Changes nothing."""
    from dataflare_std.sql.sqlite_file import check_address, check_database, check_table, database_path

    address = list(check_address(uri, ctx))
    place = check_database(database_path(uri, ctx)) if reach and not address else ()
    return [*address, *check_table(table), *place]
