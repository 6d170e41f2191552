"""Targets that number staged rows themselves, and so find what is doubtful and what the table refuses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dataflare_std.sql import refusals
from dataflare_std.sql.shape import TableShape
from dataflare_std.sql.staging import StagingTarget, lost_rows
from dataflare_std.sql.statements import SEQUENCE, STAGED_OP, quoted
from dataflare_std.sql.target import Owner, Refusal, Table

if TYPE_CHECKING:
    import pyarrow as pa


class NumberedTarget(StagingTarget):
    """Keeps the number of the next row of its stage; a call that failed may have staged rows from there on or not."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._next = 0
        self._unsure = False

    def stage(self, owner: Owner, epoch: int, rows: pa.RecordBatch) -> list[Refusal]:
        """Put rows aside; those that the table would refuse are left out and named."""
        try:
            refused = super().stage(owner, epoch, rows)
        except BaseException:
            self._unsure = True
            raise
        self._next, self._unsure = self._next + rows.num_rows, False
        return refused

    @abstractmethod
    def _types_of(self, table: str) -> dict[str, str]:
        """The columns of one of our own tables, with their types."""

    @abstractmethod
    def _trial(self, stage: str, only: str, recast: Mapping[str, str]) -> tuple[str, str] | None:
        """Move some rows of a stage and undo it; code and message of what the table refuses."""

    @abstractmethod
    def _keeps(self, kind: str, wanted: str) -> bool:
        """Whether a staged type never changes its values as it becomes that of the table, or fails."""

    def _columns_of(self, table: str) -> list[str]:
        return list(self._types_of(table))

    def _index_stage(self, stage: str, names: Iterable[str], shape: TableShape) -> None:
        """Nothing: repeated rows are looked for."""

    def _make_stage(self, stage: str, owner: Owner, epoch: int, types: Mapping[str, str], shape: TableShape) -> None:
        if self._staged_as[0] != stage:
            self._next, self._unsure = 0, False
        elif self._unsure and not self._columns_of(stage):
            raise lost_rows(f"the rows staged for epoch {epoch} are gone: the server was restarted")
        super()._make_stage(stage, owner, epoch, types, shape)

    def _numbered(self, stage: str, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with their numbers; where nothing is said of a row it is an upsert."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._unsure:
            self._rows(f"DELETE FROM {quoted(stage)} WHERE {SEQUENCE} >= {self._next}")
        columns = [pa.array(range(self._next, self._next + rows.num_rows), pa.int64())]
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            columns.append(pc.fill_null(column.cast(pa.string()), "upsert") if name == STAGED_OP else column)
        return pa.RecordBatch.from_arrays(columns, names=[SEQUENCE, *rows.schema.names])

    def _refused(self, stage: str, rows: pa.RecordBatch, shape: TableShape) -> list[Refusal]:
        """Find those of the rows just staged that the table would refuse."""
        recast = self._recast(stage, shape)
        if not shape.guarded and not recast:
            return []
        first, end, staged = self._next, self._next + rows.num_rows, rows.schema.names
        required = [name for name in shape.columns if name in shape.required and name not in self._table.key]
        found = refusals.null_rows(self._rows, stage, first, required, staged)
        table = None if self._replaces else self._name
        others = self._stages_beside(stage)
        for index in [] if self._table.key else shape.unique:
            if set(index) <= set(staged):
                found += refusals.repeated_rows(self._rows, table, stage, others, first, index)
        known = {each.row: each for each in reversed(found)}
        if len(known) < end - first:
            tried = refusals.refused_by_trial(lambda only: self._trial(stage, only, recast), first, end, list(known))
            known |= {each.row: each for each in tried}
        return list(known.values())

    def _take_back(self, stage: str, refused: Iterable[Refusal]) -> None:
        """Take refused rows out of the stage."""
        gone = ", ".join(str(self._next + each.row) for each in refused)
        if gone:
            self._rows(f"DELETE FROM {quoted(stage)} WHERE {SEQUENCE} IN ({gone})")

    def _changed(self, stage: str, only: str, recast: Mapping[str, str]) -> tuple[str, str] | None:
        """Code and message, if the type of a column would change a value."""
        for name, changed in recast.items():
            if changed and self._rows(f"SELECT 1 FROM {quoted(stage)} WHERE {only} AND {changed} LIMIT 1"):
                return "sql.lossy", f"`{name}` would be changed by the type of its column"
        return None

    def _recast(self, stage: str, shape: TableShape) -> dict[str, str]:
        """Columns of another type than they are staged with, and the condition that a value is not kept as it is."""
        changes = {}
        for name, kind in self._types_of(stage).items():
            wanted = shape.columns.get(name, kind)
            if kind != wanted:
                there = f"CAST({quoted(name)} AS {wanted})"
                kept = self._keeps(kind, wanted)
                changes[name] = "" if kept else f"CAST({there} AS {kind}) IS DISTINCT FROM {quoted(name)}"
        return changes
