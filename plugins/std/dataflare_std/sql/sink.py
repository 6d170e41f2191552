"""``sql``: the sink that writes rows into a table, each exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from dataflare import Batch, Columns, Context, Problem, Resume, field
from dataflare_std.sql.table_sink import _TableSink, existing_rule, not_empty, reject
from dataflare_std.sql.target import Owner, Staged, Table


class Sql(_TableSink[Staged], ability="transactional", fencing="target", shared="files"):
    """Write rows into a table of PostgreSQL, SQLite or DuckDB, each exactly once: visible when their epoch is decided.

    The table and missing columns are made as needed, nothing is ever dropped or changed. Lists and structures are JSON
    in PostgreSQL and SQLite; SQLite keeps times as ISO 8601 text and no NaN, which becomes null.
    """

    mode: Literal["append", "upsert"] = field(
        default="append", help="`append` adds every row; `upsert` replaces the row with the same key."
    )
    key: Columns = field(default=(), help="The columns of the key, for `upsert`.", when={"mode": "upsert"})

    def open(self, ctx: Context, resume: Resume) -> None:
        """Connect, keep older owners out, see whether the table may be written to."""
        self._owner = Owner.of(ctx)
        self._connect(ctx)
        self._first = not self._target_epoch() and resume.epoch == 0
        existing = existing_rule(resume)
        self._replaces = self._first and existing == "replace"
        if self._first and existing is None and self._target.holds_rows():
            raise not_empty(self.table)
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
        reject(batch, refused)

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

    @property
    def _table(self) -> Table:
        return Table(self.table, tuple(self.key) if self.mode == "upsert" else ())

    def _target_epoch(self) -> int | None:
        return self._target.epoch(self._owner)

    def _key_problems(self) -> Iterable[Problem]:
        if self.mode == "upsert" and not self.key:
            yield Problem(
                "sql.key_missing",
                "`upsert` needs the key of the rows",
                pointer="/key",
                fix="add for example `key: [id]`",
            )
