"""``union``: several inputs as one."""

from __future__ import annotations

from dataflare import Batch, Processor, Schema


class Union(Processor, cardinality="one"):
    """Bring the rows of several inputs together; columns that an input lacks are null, types widen to fit all."""

    # The engine gives a step with one unnamed input the union of what leads into it, cast to this schema.

    def plan(self, schema: Schema) -> Schema:
        """The union of the inputs' schemas, as the planner made it."""
        return schema

    def needs(self, columns: frozenset[str] | None, schema: Schema) -> frozenset[str] | None:
        """What is wanted behind it."""
        return columns

    def process(self, batch: Batch) -> Batch:
        """The rows as they are."""
        return batch
