"""A sink that keeps what is prepared in tables of the same file, so that one transaction publishes an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dataflare import Batch, Context, Failed, Resume, Sink, field

STAGED = "dataflare_staged_"
EPOCHS = "dataflare_epochs"


class Table(Sink[str], ability="transactional", fencing="lock", name="table"):
    """Rows into a table of a DuckDB file, made at need; columns that come new are added.

    What an epoch wrote lies in a table of its own until the commit moves it, and writes the epoch's number, in one
    transaction. DuckDB lets one process at a time open the file for writing.
    """

    path: Path = field(help="The file; made where there is none.")
    table: str = field(help="The table.", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    def open(self, ctx: Context, resume: Resume) -> None:
        """Open the file, and drop what a lost attempt left in it."""
        path = ctx.path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = duckdb.connect(str(path))
        except duckdb.IOException as error:
            told: dict[str, Any] = {"kind": "retry", "cause": str(error), "fix": "end the process that has it open"}
            raise Failed.of("duckdb.locked", f"`{path}` cannot be opened", **told) from error
        self._db.execute("set TimeZone = 'UTC'")
        words = "who varchar primary key, epoch bigint"
        self._db.execute(f"create table if not exists {EPOCHS} ({words})")
        self._who = f"{ctx.incarnation}/{ctx.flow}/{ctx.step}/{ctx.lane}"
        self._batches: list[pa.RecordBatch] = []
        live = {_staged(token) for token in resume.tokens.values() if token}
        mine = STAGED + _word(f"-{ctx.flow}-{ctx.step}-{ctx.lane}-")
        for name in self._tables():
            if name.startswith(STAGED) and mine.removeprefix(STAGED) in name and name not in live:
                self._db.execute(f'drop table "{name}"')

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def begin(self) -> None:
        """A new epoch."""
        self._batches = []

    def write(self, batch: Batch) -> None:
        """Keep the rows until the epoch is prepared."""
        self._batches.append(_storable(batch.arrow))

    def prepare(self, epoch: int, ctx: Context) -> str | None:
        """Stage the rows, and make room for their columns in the table; both are durable afterwards."""
        if not self._batches:
            return None
        rows = pa.Table.from_batches(self._batches).combine_chunks()
        self._batches = []
        token = ctx.name(epoch)
        self._db.register("given", rows)
        try:
            self._db.execute(f'create or replace table "{_staged(token)}" as select * from given')
            self._db.execute(f'create table if not exists "{self.table}" as select * from given limit 0')
        finally:
            self._db.unregister("given")
        known = {name for name, *_ in self._columns(self.table)}
        for name, kind in self._columns(_staged(token)):
            if name not in known:
                self._db.execute(f'alter table "{self.table}" add column "{name}" {kind}')
        self._db.execute("checkpoint")
        return token

    def commit(self, epoch: int, tokens: Sequence[str]) -> None:
        """Move what was staged; what is not there was moved before."""
        staged = [name for name in map(_staged, tokens) if name in self._tables()]
        self._db.execute("begin")
        try:
            for name in staged:
                self._db.execute(f'insert into "{self.table}" by name select * from "{name}"')
                self._db.execute(f'drop table "{name}"')
            self._db.execute(f"insert or replace into {EPOCHS} values (?, ?)", [self._who, epoch])
            self._db.execute("commit")
        except BaseException:
            self._db.execute("rollback")
            raise

    def abort(self, tokens: Sequence[str]) -> None:
        """Drop what was staged."""
        self._batches = []
        for token in tokens:
            self._db.execute(f'drop table if exists "{_staged(token)}"')

    def recover(self) -> int | None:
        """The epoch that the file says was committed last."""
        found = self._db.execute(f"select epoch from {EPOCHS} where who = ?", [self._who]).fetchone()
        return None if found is None else int(found[0])

    def readback(self, stream: str) -> Iterator[Batch]:
        """The rows of the table."""
        if self.table in self._tables():
            yield from map(Batch, self._db.execute(f'select * from "{self.table}"').to_arrow_table().to_batches())

    def _tables(self) -> set[str]:
        return {name for (name,) in self._db.execute("select table_name from duckdb_tables()").fetchall()}

    def _columns(self, table: str) -> list[tuple[Any, ...]]:
        told = "select column_name, data_type from duckdb_columns() where table_name = ?"
        return self._db.execute(told, [table]).fetchall()


def _staged(token: str) -> str:
    return STAGED + _word(token)


def _word(text: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in text)


def _storable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns without a type become text: a table needs one."""
    for index, column in enumerate(batch.schema):
        if pa.types.is_null(column.type):
            batch = batch.set_column(index, column.name, pa.nulls(len(batch), pa.string()))
    return batch
