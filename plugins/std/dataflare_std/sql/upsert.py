"""``sql-upsert``: the sink that writes rows into a table by key at once, before their epoch is decided."""

from __future__ import annotations

from contextlib import suppress

from dataflare import Batch, Columns, Context, DataflareError, Resume, Retry, field
from dataflare_std.sql.table_sink import _TableSink, existing_rule, not_empty, reject
from dataflare_std.sql.target import Owner, Table


class Upsert(_TableSink[None], name="sql-upsert", ability="idempotent", fencing="target", shared="files"):
    """Write rows into a table by their key at once, not waiting for the checkpoint: seen early, and right in the end.

    After a crash rows come again and replace themselves, so for a moment older values may be seen. The target is as
    for `std/sql`, which shows rows only when they are decided.
    """

    key: Columns = field(help="The columns of the key.", min_length=1)

    def open(self, ctx: Context, resume: Resume) -> None:
        """Connect, keep older owners out, see whether the table may be written to."""
        self._owner = Owner.of(ctx)
        target = self._connect(ctx)
        is_new = resume.epoch == 0 and not target.knows(self._owner)
        existing = existing_rule(resume)
        if is_new and existing == "replace":
            target.empty()
        elif is_new and existing is None and target.holds_rows():
            raise not_empty(self.table)
        target.claim(self._owner, [], is_new, False)

    def write(self, batch: Batch) -> None:
        """Put the rows into the table; those that it refuses are rejected with the constraint they break."""
        batch = self._acceptable(batch)
        if len(batch):
            reject(batch, self._target.put(self._owner, batch.arrow))

    def prepare(self, epoch: int) -> None:
        """Make what was written durable."""
        self._target.flush(self._owner)

    def close(self) -> None:
        """Leave no staging table behind, if the database lets us; else the next run drops it."""
        if hasattr(self, "_target"):
            with suppress(DataflareError, Retry):
                self._target.discard([self._owner.stage(0)])
        super().close()

    @property
    def _table(self) -> Table:
        return Table(self.table, tuple(self.key))
