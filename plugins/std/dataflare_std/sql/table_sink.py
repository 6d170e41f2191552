"""What the sinks of tables share: where the table is, which rows it can take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from dataflare import Batch, ConfigError, Context, Problem, Resume, Schema, Secret, Sink, field
from dataflare_std.expression import unknown_column
from dataflare_std.sql.databases import database_of
from dataflare_std.sql.target import OP, OPERATIONS, Refusal, Table, Target

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


class _TableSink(Sink[T]):
    """Writes rows into a table. A subclass says of which key its rows are."""

    uri: str | Secret = field(
        help="`postgresql://user@host/database`, or `sqlite:///out/shop.db` or `duckdb:///out/shop.duckdb` beside the "
        "flow file (four slashes: from the root). With a password in it, a secret: `${secret:NAME}`."
    )
    table: str = field(help="The table; it is made if it is not there.", min_length=1)

    def check(self, ctx: Context) -> Iterable[Problem]:
        """Folder, database and key."""
        return [*self._key_problems(), *self._problems(ctx, reach=True)]

    def plan(self, schema: Schema, ctx: Context) -> None:
        """Raises ConfigError for an address that is none, columns that no table holds, a key that is not there."""
        problems = [*self._key_problems(), *self._problems(ctx, reach=False)]
        if not schema.open:
            problems += [unknown_column(name, schema.names, "/key") for name in self._table.key if name not in schema]
        if not problems:
            database = database_of(self._address)
            problems += [_unsupported(column) for column in schema if not database.holds(column.type)]
        problems += _same_names(schema.names)
        if OP in schema and not self._table.key:
            problems.append(
                Problem(
                    "sql.op_needs_upsert", f"rows with `{OP}` change rows, `append` only adds", fix="use `mode: upsert`"
                )
            )
        if problems:
            raise ConfigError(*problems)

    def readback(self, stream: str) -> Iterator[Any]:
        """The rows of the table."""
        return self._target.rows(10_000)

    def close(self) -> None:
        """Close the connection."""
        if hasattr(self, "_target"):
            self._target.close()

    @property
    def _table(self) -> Table:
        raise NotImplementedError

    def _key_problems(self) -> Iterable[Problem]:
        return ()

    @property
    def _address(self) -> str:
        return self.uri.get() if isinstance(self.uri, Secret) else self.uri

    def _connect(self, ctx: Context) -> Target:
        problems = list(self._key_problems())
        if problems:
            raise ConfigError(*problems)
        self._target = database_of(self._address).connect(self._address, self._table, ctx)
        return self._target

    def _problems(self, ctx: Context, *, reach: bool) -> list[Problem]:
        """What is wrong with address and table; ``reach``: and could the sink work there now?"""
        try:
            database = database_of(self._address)
        except ConfigError as error:
            return list(error.problems)
        found = list(database.check(self._address, self._table, ctx))
        return found if found or not reach else list(database.check_place(self._address, ctx))

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


def existing_rule(resume: Resume) -> str | None:
    """``replace`` or ``append``, as the operator asked for rows that were there before; None: refuse."""
    return resume.made.get("existing") if isinstance(resume.made, dict) else None


def reject(batch: Batch, refused: Sequence[Refusal]) -> None:
    """Reject the rows of a batch that the table would not take."""
    import pyarrow as pa

    for code in dict.fromkeys(refusal.code for refusal in refused):
        rows = {refusal.row: refusal.message for refusal in refused if refusal.code == code}
        mask = pa.array([row in rows for row in range(len(batch))], pa.bool_())
        batch.reject(mask, code, next(iter(rows.values())))


def not_empty(table: str) -> ConfigError:
    """The refusal of a table with rows that this flow did not write."""
    return ConfigError.of(
        "sink.not_empty",
        f"the table `{table}` already has rows, and this flow has not written to it before",
        cause="the flow starts with new state, so it cannot tell which of its rows are there already",
        fix="choose `--from-start --replace` or `--from-start --append`, or name another table",
    )


def _unknown_operations(operations: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = operations.cast(pa.string())
    return pc.and_(pc.is_valid(text), pc.invert(pc.is_in(text, pa.array(OPERATIONS))))


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
