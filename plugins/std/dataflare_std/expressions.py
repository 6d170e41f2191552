"""The expression steps: filter, compute, select. Neighbours become one step (``fuse``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from dataflare import Batch, Columns, ConfigError, Expr, Processor, Schema, field
from dataflare_std.expression import Expression, parsed
from dataflare_std.relation import Assign, Omit, Operation, Pick, Program, Where, roots_of

if TYPE_CHECKING:
    import pyarrow as pa


class Relational:
    """A step that is a list of operations: it types them in ``plan`` and runs them over each batch."""

    @cached_property
    def relation(self) -> tuple[Operation, ...]:
        """What the step does. Raises ConfigError where the configuration is not right."""
        raise NotImplementedError

    def plan(self, schema: Schema) -> Schema:
        """The schema after all operations. Raises ConfigError with every problem found."""
        program = Program.of(self.relation, schema.arrow, open=schema.open)
        return Schema(program.output, open=schema.open and not self._closes)

    def needs(self, columns: frozenset[str] | None, schema: Schema) -> frozenset[str] | None:
        """What the operations read, and what passes through to the columns that are wanted."""
        program = Program.of(self.relation, schema.arrow, open=schema.open)
        dropped = [name for each in self.relation if isinstance(each, Omit) for name in each.drop]
        needed = roots_of(program.operations, columns)
        return None if needed is None else needed.union(dropped)

    def fuse(self, after: Processor) -> Processor | None:
        """One step for both, if the next one is of this kind too."""
        return _Fused((*self.relation, *after.relation)) if isinstance(after, Relational) else None

    def open(self) -> None:
        """Parse the expressions, so that the first batch does not wait for it."""
        self._programs: list[Program] = []
        _ = self.relation

    def process(self, batch: Batch) -> Batch:
        """The rows after all operations; rows that cannot be computed are rejected (``step.expression``)."""
        return self._program(batch.schema).run_or_reject(batch)

    def _program(self, schema: pa.Schema) -> Program:
        known: list[Program] = self.__dict__.setdefault("_programs", [])
        for program in known:
            if program.input is schema or program.input.equals(schema, check_metadata=True):
                return program
        known[:] = [Program.of(self.relation, schema), *known[:3]]
        return known[0]

    @property
    def _closes(self) -> bool:
        return any(isinstance(operation, Pick) for operation in self.relation)


class Filter(Relational, Processor, cardinality="filter"):
    """Keep the rows for which a SQL condition is true; where it is false or null the row is dropped."""

    where: Expr = field(
        help="The condition over the columns of a row, for example `temperature > 20 and status = 'ok'`."
    )

    @cached_property
    def relation(self) -> tuple[Operation, ...]:
        """One condition."""
        return (Where(Expression.parse(self.where, "/where")),)


class Compute(Relational, Processor, cardinality="one"):
    """Add or replace columns, each computed by a SQL expression over the columns of the row as it came in."""

    columns: dict[str, Expr] = field(
        help="Column name → expression, for example `fahrenheit: temperature * 9 / 5 + 32`.", min_length=1
    )

    @cached_property
    def relation(self) -> tuple[Operation, ...]:
        """One assignment of all columns."""
        return (Assign(parsed(self.columns, "/columns")),)


class Select(Relational, Processor, cardinality="one"):
    """Choose, compute, drop and rename columns; say either `columns`, or `drop` and `rename`."""

    columns: list[str] | dict[str, str] | None = field(
        default=None, help="Exactly these columns, in this order: names, or new name → old name or expression."
    )
    drop: Columns = field(default=(), help="Columns to leave out; all others stay.")
    rename: dict[str, str] = field(default={}, help="Old name → new name; all others keep theirs.")

    @cached_property
    def relation(self) -> tuple[Operation, ...]:
        """One choice of columns."""
        if (self.columns is None) == (not self.drop and not self.rename):
            raise ConfigError.of(
                "config.select",
                "say either `columns`, or `drop` and `rename`",
                pointer="/columns" if self.columns is not None else None,
                cause="`columns` names all that stay, `drop` and `rename` change some and keep the others",
                fix="to rename while choosing, write `columns: {new: old}`",
            )
        if self.columns is None:
            return (Omit(tuple(self.drop), self.rename),)
        named = self.columns if isinstance(self.columns, Mapping) else {name: name for name in self.columns}
        return (Pick(named, "/columns"),)


class _Fused(Relational, Processor, name="fused-expressions", cardinality="filter"):
    """Several expression steps as one; made by the engine, not by flows."""

    def __init__(self, relation: Sequence[Operation]) -> None:
        self._relation = tuple(relation)

    @cached_property
    def relation(self) -> tuple[Operation, ...]:
        """The operations of all the steps in their order."""
        return self._relation
