"""The schema gate of a source: rows of a wider schema wait for a checkpoint and for everybody's consent."""

from __future__ import annotations

from collections.abc import Callable

from dataflare.batch import Batch, Rejected
from dataflare.errors import ConfigError
from dataflare.schema import Schema
from dataflare_pipeline.policy import StepFailed
from dataflare_pipeline.work import Refusal, Work

Evolve = Callable[[str, Schema], bool]
"""(output, wanted) → True once a checkpoint is made, every later step agreed and the gate's ``schemas`` have grown."""


class SchemaGate:
    """The agreed schema of each output of a source; ``schemas`` are shared by its lanes.

    ``rule`` is what happens to rows of a schema that is not agreed on: ``evolve`` asks first and then fails,
    ``freeze`` fails, ``discard_row``, ``discard_value``, ``dead_letter``.
    """

    def __init__(self, step: str, schemas: dict[str, Schema], rule: str, evolve: Evolve, refusal: Refusal) -> None:
        self.schemas = schemas
        self._step = step
        self._rule = rule
        self._evolve = evolve
        self._refusal = refusal

    def fit(self, output: str, batch: Batch, work: Work) -> Batch | None:
        """The batch in the agreed schema, or None where its rows were dropped or refused. Raises StepFailed."""
        known = self.schemas.get(output)
        if known is None:
            known = self.schemas.setdefault(output, Schema(batch.schema))
        if batch.schema is known.arrow or batch.schema.equals(known.arrow):
            return batch
        try:
            union = known.union(Schema(batch.schema))
        except ConfigError as error:
            return self._by_rule(batch, known, work, str(error.problems[0].message))
        if union.arrow.equals(known.arrow):
            return batch.cast(known)
        if self._rule == "evolve" and self._evolve(output, union):
            return batch.cast(self.schemas[output])
        return self._by_rule(batch, known, work, _difference(batch, known))

    def _by_rule(self, batch: Batch, known: Schema, work: Work, message: str) -> Batch | None:
        import pyarrow as pa

        if self._rule == "discard_value":
            same = [f.name for f in batch.schema if f.name in known and known.type(f.name) == f.type]
            return batch.select(same).cast(known)
        if self._rule == "discard_row":
            work.of(self._step).dropped += len(batch)
            return None
        if self._rule == "dead_letter":
            rows = pa.array(range(len(batch)), pa.int64())
            self._refusal.rows(work, batch, [Rejected(rows, "schema.changed", message)], "")
            return None
        error = ConfigError.of(
            "schema.changed",
            f"the rows changed: {message}",
            fix="`on_schema_change: evolve` lets the schema grow where every later step can take it; "
            "`discard_value`, `discard_row` and `dead_letter` go on without it",
        )
        raise StepFailed(self._step, error)


def _difference(batch: Batch, known: Schema) -> str:
    changed = [
        f"`{field.name}` is {field.type}"
        + (f", was {known.type(field.name)}" if field.name in known else ", was not there")
        for field in batch.schema
        if field.name not in known or known.type(field.name) != field.type
    ]
    return "; ".join(changed)
