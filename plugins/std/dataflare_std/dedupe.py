"""``dedupe``: each key once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflare import Batch, Columns, ConfigError, Duration, Processor, Schema, field
from dataflare.state import State, state
from dataflare_std.expression import frame_of, unknown_column

if TYPE_CHECKING:
    import pyarrow as pa


class Dedupe(Processor, by="key", cardinality="filter"):
    """Keep the first row of each key and drop those that repeat it, also across restarts."""

    key: Columns = field(help="The columns that together say whether two rows are the same.", min_length=1)
    ttl: Duration | None = field(
        default=None, help="Forget a key this long after its first row, so that the next one is kept again."
    )
    seen: State[bool] = state(ttl="ttl")

    def plan(self, schema: Schema) -> Schema:
        """The schema as it is. Raises ConfigError (``plan.unknown_column``)."""
        missing = [] if schema.open else [name for name in self.key if name not in schema]
        if missing:
            raise ConfigError(*(unknown_column(name, schema.names, "/key") for name in missing))
        return schema

    def needs(self, columns: frozenset[str] | None, schema: Schema) -> frozenset[str] | None:
        """The key, and what is wanted behind it."""
        return None if columns is None else columns | frozenset(self.key)

    def process(self, batch: Batch) -> Batch:
        """The rows whose key was not seen before."""
        import pyarrow as pa

        first = batch.take(_first_of_each(batch, self.key))
        new = first.filter(pa.array([known is None for known in self.seen.get(first)], pa.bool_()))
        if len(new):
            self.seen.put(new, [True] * len(new))
        return new


def _first_of_each(batch: Batch, key: tuple[str, ...]) -> pa.Array:
    """The index of the first row of each key. Like the state's keys, null, NaN and the two zeros are one value each."""
    import polars as pl

    columns = dict(zip(batch.columns, batch.arrow.columns, strict=True))
    indexed = frame_of(columns, key).select(pl.struct(pl.all()).is_first_distinct().arg_true())
    return indexed.to_series().to_arrow()
