"""``sql``: the sink that writes rows into a table, each exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dataflare import Batch, Columns, ConfigError, Context, Problem, Resume, Schema, Secret, Sink, field
from dataflare_std.expression import unknown_column
from dataflare_std.sql.databases import database_of
from dataflare_std.sql.target import OP, OPERATIONS, Owner, Staged, Table, Target

if TYPE_CHECKING:
    import pyarrow as pa


class Sql(Sink[Staged], ability="transactional", fencing="target", shared="files"):
    """Write rows into a table of PostgreSQL, SQLite or DuckDB, each exactly once: visible when their epoch is decided.

    The table and missing columns are made as needed, nothing is ever dropped or changed. Lists and structures are JSON
    in PostgreSQL and SQLite; SQLite keeps times as ISO 8601 text and no NaN, which becomes null.
    """

    uri: str | Secret = field(
        help="`postgresql://user@host/database`, or `sqlite:///out/shop.db` or `duckdb:///out/shop.duckdb` beside the "
        "flow file (four slashes: from the root). With a password in it, a secret: `${secret:NAME}`."
    )
    table: str = field(help="The table; it is made if it is not there.", min_length=1)
    mode: Literal["append", "upsert"] = field(
        default="append", help="`append` adds every row; `upsert` replaces the row with the same key."
    )
    key: Columns = field(default=(), help="The columns of the key, for `upsert`.", when={"mode": "upsert"})

    def check(self, ctx: Context) -> Iterable[Problem]:
        """Folder, database and key."""
        problem = self._key_problem()
        return [*([problem] if problem else []), *self._problems(ctx, reach=True)]

    def plan(self, schema: Schema, ctx: Context) -> None:
        """Raises ConfigError for an address that is none, columns that no table holds, a key that is not there."""
        problem = self._key_problem()
        problems = [*([problem] if problem else []), *self._problems(ctx, reach=False)]
        if not schema.open:
            problems += [unknown_column(name, schema.names, "/key") for name in self._table.key if name not in schema]
        if not problems:
            database = database_of(self._address)
            problems += [_unsupported(column) for column in schema if not database.holds(column.type)]
        problems += _same_names(schema.names)
        if OP in schema and self.mode == "append":
            problems.append(
                Problem(
                    "sql.op_needs_upsert", f"rows with `{OP}` change rows, `append` only adds", fix="use `mode: upsert`"
                )
            )
        if problems:
            raise ConfigError(*problems)

    def open(self, ctx: Context, resume: Resume) -> None:
        """Connect, keep older owners out, see whether the table may be written to."""
        problem = self._key_problem()
        if problem:
            raise ConfigError(problem)
        self._owner = Owner.of(ctx)
        self._target: Target = database_of(self._address).connect(self._address, self._table, ctx)
        self._first = not self._target_epoch() and resume.epoch == 0
        existing = resume.made.get("existing") if isinstance(resume.made, dict) else None
        self._replaces = self._first and existing == "replace"
        if self._first and existing is None and self._target.holds_rows():
            raise _not_empty(self.table)
        live = [token.stage for token in resume.tokens.values() if token is not None]
        self._target.claim(self._owner, live, self._first, self._replaces)
        self._staged = 0

    def begin(self, epoch: int) -> None:
        """Start an epoch with nothing staged."""
        self._epoch, self._staged = epoch, 0

    def write(self, batch: Batch) -> None:
        """Stage the rows; those that the table would refuse are rejected with the constraint they break."""
        batch = self._acceptable(batch)
        if not len(batch):
            return
        refused = self._target.stage(self._owner, self._epoch, batch.arrow)
        self._staged += len(batch) - len(refused)
        for code in dict.fromkeys(refusal.code for refusal in refused):
            rows = {refusal.row: refusal.message for refusal in refused if refusal.code == code}
            _reject(batch, rows, code)

    def prepare(self, epoch: int) -> Staged | None:
        """What was staged, durable and tried out; None if there is nothing to commit."""
        if self._staged:
            self._target.prepare(self._owner, epoch, self._staged)
        elif not self._replaces:
            return None
        owner = self._owner
        return Staged(
            owner.stage(epoch),
            owner.incarnation,
            owner.flow,
            owner.sink,
            owner.lane,
            epoch,
            self._staged,
            self._replaces,
        )

    def commit(self, epoch: int, tokens: Sequence[Staged]) -> None:
        """Move the staged rows of all lanes into the table in one transaction."""
        self._target.commit(tokens, self._owner.fence)
        self._replaces = self._replaces and not tokens

    def abort(self, epoch: int, tokens: Sequence[Staged]) -> None:
        """Drop what was staged."""
        self._target.discard([self._owner.stage(epoch), *(token.stage for token in tokens)])

    def recover(self) -> int | None:
        """The last epoch that the database holds of this sink."""
        return self._target_epoch() or None

    def readback(self, stream: str) -> Iterator[Any]:
        """The rows of the table."""
        return self._target.rows(10_000)

    def close(self) -> None:
        """Close the connection."""
        if hasattr(self, "_target"):
            self._target.close()

    @property
    def _table(self) -> Table:
        return Table(self.table, tuple(self.key) if self.mode == "upsert" else ())

    @property
    def _address(self) -> str:
        return self.uri.get() if isinstance(self.uri, Secret) else self.uri

    def _problems(self, ctx: Context, *, reach: bool) -> list[Problem]:
        """What is wrong with address and table; ``reach``: and could the sink work there now?"""
        try:
            database = database_of(self._address)
        except ConfigError as error:
            return list(error.problems)
        found = list(database.check(self._address, self._table, ctx))
        return found if found or not reach else list(database.check_place(self._address, ctx))

    def _target_epoch(self) -> int | None:
        return self._target.epoch(self._owner)

    def _key_problem(self) -> Problem | None:
        if self.mode == "upsert" and not self.key:
            return Problem(
                "sql.key_missing",
                "`upsert` needs the key of the rows",
                pointer="/key",
                fix="add for example `key: [id]`",
            )
        return None

    def _acceptable(self, batch: Batch) -> Batch:
        import pyarrow.compute as pc

        for name in batch.columns:
            misfits = self._target.misfits(batch[name])
            if misfits is not None:
                mask, code, what = misfits
                batch = batch.reject(mask, code, f"`{name}` {what}")
        for name in self._table.key:
            if name not in batch:
                raise ConfigError(unknown_column(name, batch.columns, "/key"))
            batch = batch.reject(pc.is_null(batch[name]), "sql.null_key", f"the key column `{name}` is null")
        if OP in batch:
            batch = batch.reject(
                _unknown_operations(batch[OP]), "sql.unknown_op", f"`{OP}` is none of {', '.join(OPERATIONS)}"
            )
        return batch


def _unknown_operations(operations: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = operations.cast(pa.string())
    return pc.and_(pc.is_valid(text), pc.invert(pc.is_in(text, pa.array(OPERATIONS))))


def _reject(batch: Batch, rows: dict[int, str], code: str) -> None:
    import pyarrow as pa

    mask = pa.array([row in rows for row in range(len(batch))], pa.bool_())
    batch.reject(mask, code, next(iter(rows.values())))


def _unsupported(column: pa.Field) -> Problem:
    return Problem(
        "sql.unsupported_type",
        f"a table cannot hold `{column.name}`: {column.type}",
        fix="leave it out with std/select, or compute a number or text from it with std/compute",
    )


def _same_names(names: Sequence[str]) -> list[Problem]:
    problems = []
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            problems.append(
                Problem(
                    "sql.duplicate_column",
                    f"`{other}` and `{name}` are the same name in a table",
                    fix="rename one of them with std/select",
                )
            )
    return problems


def _not_empty(table: str) -> ConfigError:
    return ConfigError.of(
        "sink.not_empty",
        f"the table `{table}` already has rows, and this flow has not written to it before",
        cause="the flow starts with new state, so it cannot tell which of its rows are there already",
        fix="choose `--from-start --replace` or `--from-start --append`, or name another table",
    )
