"""The unit that moves: an Arrow record batch, its envelope, and where its rows came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflare.errors import OriginLost

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Any
"""What a component may give: rows (dicts, dataclasses, models), a dict of columns, a Batch, or any
object with the Arrow PyCapsule interface. Never a tuple."""


@dataclass(frozen=True)
class Envelope:
    """What travels with the rows: stream, split, the position of the batch's end, schema id, watermark."""

    stream: str = ""
    split: str = ""
    position: Any = None
    schema_id: str = ""
    watermark: datetime | None = None
    ingested: datetime | None = None
    """When the source gave the rows: what `ctx.clock` says to every step that handles them."""


@dataclass(frozen=True)
class Rejected:
    """Rows refused for one reason: ``rows`` are indices into the step's input, ascending."""

    rows: pa.Int64Array
    code: str
    message: str


@dataclass
class Ledger:
    """The rejects of one call, shared by every batch derived from the call's input."""

    entries: list[Rejected] = field(default_factory=list)


class Batch:
    """Rows in columns. Immutable: every method gives a new batch.

    ``batch["net"]`` is a column (a ``pyarrow.Array`` of ``len(batch)`` values). A batch derived with
    these methods remembers which row of the step's input each row is, so ``reject`` can name it.
    Polars, DuckDB and pyarrow take a batch as it is (Arrow PyCapsule interface).
    """

    __slots__ = ("arrow", "envelope", "ledger", "origin")

    def __init__(
        self,
        arrow: pa.RecordBatch,
        envelope: Envelope = Envelope(),
        *,
        origin: pa.Int64Array | bool | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.arrow = arrow
        self.envelope = envelope
        self.origin: Any = origin
        """Input row of each row; None: the same rows as the input; False: unknown."""
        self.ledger = ledger if ledger is not None else Ledger()

    # --- made from and turned into other things ------------------------------------------------

    @classmethod
    def of(cls, rows: Rows, schema: Any = None) -> Batch:
        """A batch of what an author gives (see ``Rows``), cast to ``schema`` where one is given.

        Raises ConfigError (``batch.rows``) for things that are not rows, (``batch.type``) for values
        that do not fit the schema.
        """
        from dataflare.rows import to_record_batch

        if isinstance(rows, Batch):
            return rows if schema is None else rows.cast(schema)
        return cls(to_record_batch(rows, schema))

    def to_rows(self) -> list[dict[str, Any]]:
        """The rows as dicts of Python values."""
        rows: list[dict[str, Any]] = self.arrow.to_pylist()
        return rows

    def to_columns(self) -> dict[str, list[Any]]:
        """The columns as lists of Python values."""
        columns: dict[str, list[Any]] = self.arrow.to_pydict()
        return columns

    def to_polars(self) -> Any:
        """The rows as a ``polars.DataFrame`` (needs Polars), without copying."""
        import polars

        return polars.DataFrame(self.arrow)

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.arrow.__arrow_c_array__(requested_schema)

    def __arrow_c_schema__(self) -> Any:
        return self.arrow.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        import pyarrow as pa

        return pa.Table.from_batches([self.arrow]).__arrow_c_stream__(requested_schema)

    # --- looking ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def columns(self) -> list[str]:
        """The column names in order."""
        return list(self.arrow.schema.names)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return self.arrow.schema

    @property
    def nbytes(self) -> int:
        """Bytes that the rows refer to."""
        return int(self.arrow.nbytes)

    def __getitem__(self, name: str) -> pa.Array:
        return self.arrow.column(name)

    def __contains__(self, name: object) -> bool:
        return name in self.arrow.schema.names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Batch) and self.arrow.equals(other.arrow)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Batch({len(self)} rows: {', '.join(self.columns)})"

    # --- deriving -----------------------------------------------------------------------------

    def with_column(self, name: str, values: Any, type: Any = None) -> Batch:
        """The batch with one column replaced in its place, or added at the end; a scalar fills every row."""
        import pyarrow as pa

        column = _column(values, len(self), type)
        index = self.arrow.schema.get_field_index(name)
        arrays, names = list(self.arrow.columns), self.columns
        if index < 0:
            arrays, names = [*arrays, column], [*names, name]
        else:
            arrays[index] = column
        fields = [
            old.with_type(array.type)
            if (old := _field(self.arrow.schema, key)) is not None
            else pa.field(key, array.type)
            for key, array in zip(names, arrays, strict=True)
        ]
        return self._same_rows(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)))

    def select(self, names: Sequence[str]) -> Batch:
        """Only these columns, in this order."""
        return self._same_rows(self.arrow.select(list(names)))

    def without(self, *names: str) -> Batch:
        """The batch without these columns."""
        return self.select([name for name in self.columns if name not in names])

    def rename(self, names: Mapping[str, str]) -> Batch:
        """Columns under new names, the others as they are."""
        return self._same_rows(self.arrow.rename_columns([names.get(name, name) for name in self.columns]))

    def cast(self, schema: Any) -> Batch:
        """The columns of ``schema`` in its order and types; missing ones are null.

        Raises ConfigError (``batch.type``) where a value does not fit.
        """
        from dataflare.rows import cast_record_batch

        return self._same_rows(cast_record_batch(self.arrow, schema))

    def filter(self, mask: Any) -> Batch:
        """The rows where ``mask`` (booleans; null counts as false) is true."""
        import pyarrow as pa
        import pyarrow.compute as pc

        keep = pc.fill_null(_column(mask, len(self), pa.bool_()), False)
        origin = self.origin
        if origin is None:
            origin = pa.array(range(len(self)), pa.int64())
        return self._derive(self.arrow.filter(keep), origin.filter(keep) if origin is not False else False)

    def take(self, indices: Any) -> Batch:
        """The rows at ``indices``, in that order; a row may come more than once."""
        import pyarrow as pa

        wanted = indices if isinstance(indices, pa.Array) else pa.array(indices, pa.int64())
        origin = wanted.cast(pa.int64()) if self.origin is None else self.origin
        if self.origin is not None and self.origin is not False:
            origin = self.origin.take(wanted)
        return self._derive(self.arrow.take(wanted), origin)

    def slice(self, offset: int, length: int | None = None) -> Batch:
        """``length`` rows from ``offset`` on, without copying."""
        import pyarrow as pa

        part = self.arrow.slice(offset, length)
        if self.origin is None:
            return self._derive(part, pa.array(range(offset, offset + part.num_rows), pa.int64()))
        return self._derive(part, False if self.origin is False else self.origin.slice(offset, length))

    def reject(self, mask: Any, code: str, message: str = "") -> Batch:
        """The rows where ``mask`` is false or null; the others are refused with ``code``.

        Refused rows go to the dead-letter store as the rows of the step's input that they came from.
        Raises OriginLost if this batch was not derived from the input with methods of Batch.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        refused = pc.fill_null(_column(mask, len(self), pa.bool_()), False)
        count = pc.sum(refused).as_py() or 0
        if not count:
            return self
        if self.origin is False:
            raise OriginLost.of(
                "batch.origin_lost",
                f"rows cannot be rejected with `{code}`: this batch no longer knows its input rows",
                fix="reject before the operation that made new rows, "
                "or derive the batch with filter, take, slice or with_column",
            )
        rows = pc.indices_nonzero(refused).cast(pa.int64())
        if self.origin is not None:
            rows = pc.unique(self.origin.take(rows))
        self.ledger.entries.append(Rejected(rows, code, message))
        return self.filter(pc.invert(refused))

    def derived(self, rows: Rows) -> Batch:
        """New rows computed from this batch; if there are as many, each is taken to come from the row at its place."""
        made = Batch.of(rows)
        same = len(made) == len(self)
        return self._derive(made.arrow, self.origin if same else False)

    def with_envelope(self, **changes: Any) -> Batch:
        """The same rows under a changed envelope."""
        return Batch(self.arrow, replace(self.envelope, **changes), origin=self.origin, ledger=self.ledger)

    def as_input(self) -> Batch:
        """The same rows as the input of the next step: origins start anew, the ledger is empty."""
        return Batch(self.arrow, self.envelope)

    def iter_slices(self, rows: int) -> Iterator[Batch]:
        """The batch in parts of at most ``rows`` rows."""
        for offset in range(0, len(self), rows):
            yield self.slice(offset, rows)

    def _same_rows(self, arrow: pa.RecordBatch) -> Batch:
        return self._derive(arrow, self.origin)

    def _derive(self, arrow: pa.RecordBatch, origin: Any) -> Batch:
        return Batch(arrow, self.envelope, origin=origin, ledger=self.ledger)


def _field(schema: pa.Schema, name: str) -> pa.Field | None:
    index = schema.get_field_index(name)
    return None if index < 0 else schema.field(index)


def _column(values: Any, length: int, type: Any = None) -> pa.Array:
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values if type is None or values.type == type else values.cast(type)
    if isinstance(values, pa.Scalar):
        return pa.repeat(values, length)
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        return pa.repeat(pa.scalar(values, type), length)
    if hasattr(values, "__arrow_c_array__") or hasattr(values, "__arrow_c_stream__"):
        array = pa.chunked_array(values).combine_chunks() if hasattr(values, "__arrow_c_stream__") else pa.array(values)
        return array if type is None else array.cast(type)
    return pa.array(list(values), type)
