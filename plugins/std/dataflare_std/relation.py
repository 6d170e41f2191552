"""What the expression steps do to rows, as data: a list of operations that runs over a batch in one go.

Only the columns that an expression reads go to Polars; all others stay the Arrow arrays they were. A filter
keeps indices, so every row still knows which input row it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dataflare import Batch, ConfigError, Problem
from dataflare_std.expression import Expression, ExpressionFailed, unknown_column

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Where:
    """Keep the rows for which the condition is true; false and null drop the row."""

    condition: Expression
    live: frozenset[str] | None = None
    """The columns that anything later reads, or None for all."""


@dataclass(frozen=True)
class Assign:
    """Set columns; every expression sees the columns as they were before."""

    columns: Mapping[str, Expression]
    types: Mapping[str, pa.DataType] | None = None


@dataclass(frozen=True)
class Project:
    """Exactly these columns: new name → old name."""

    columns: Mapping[str, str]


@dataclass(frozen=True)
class Pick:
    """Exactly these columns: new name → an existing column, or an expression."""

    columns: Mapping[str, str]
    pointer: str


@dataclass(frozen=True)
class Omit:
    """All columns but ``drop``, some under new names (old → new)."""

    drop: tuple[str, ...]
    rename: Mapping[str, str]


Operation = Where | Assign | Project | Pick | Omit


@dataclass(frozen=True)
class Program:
    """Operations made ready for one input schema: ``run`` gives rows of the schema ``output``."""

    operations: tuple[Operation, ...]
    input: pa.Schema
    output: pa.Schema

    @classmethod
    def of(cls, operations: Sequence[Operation], schema: pa.Schema, *, open: bool = False) -> Program:
        """Type every operation in turn; ``open``: rows may bring columns that the schema does not have.

        Raises ConfigError with every problem of the first operation that does not fit.
        """
        ready: list[Operation] = []
        output = schema
        for operation in operations:
            steps, output = _typed(operation, output, open)
            ready.extend(steps)
        return cls(tuple(_with_live_columns(ready)), schema, output)

    def run(self, batch: Batch) -> Batch:
        """The batch after all operations; rows keep their origin. Raises ExpressionFailed."""
        import pyarrow as pa

        columns = dict(zip(batch.columns, batch.arrow.columns, strict=True))
        rows, kept = len(batch), None
        for operation in self.operations:
            if isinstance(operation, Where):
                indices = _true_rows(operation.condition, columns, rows)
                if len(indices) == rows:
                    continue
                columns = {
                    name: column.take(indices)
                    for name, column in columns.items()
                    if operation.live is None or name in operation.live
                }
                rows, kept = len(indices), indices if kept is None else kept.take(indices)
            elif isinstance(operation, Assign):
                columns |= _assigned(operation, columns, rows)
            elif isinstance(operation, Project):
                columns = {new: columns[old] for new, old in operation.columns.items()}
        made = _record_batch(columns, self.output, rows)
        origin: Any = batch.origin
        if kept is not None and origin is not False:
            origin = kept.view(pa.int64()) if origin is None else origin.take(kept)
        return Batch(made, batch.envelope, origin=origin, ledger=batch.ledger)

    def run_or_reject(self, batch: Batch) -> Batch:
        """``run``, but rows that cannot be computed (a cast of `abc` to a number) are rejected."""
        import pyarrow as pa

        try:
            return self.run(batch)
        except ExpressionFailed as failed:
            failing = set(self._failing(batch, 0))
            mask = pa.array([row in failing for row in range(len(batch))], pa.bool_())
            return self.run(batch.reject(mask, "step.expression", str(failed)))

    def _failing(self, batch: Batch, offset: int) -> Iterable[int]:
        try:
            self.run(batch)
        except ExpressionFailed:
            if len(batch) < 2:
                yield from range(offset, offset + len(batch))
                return
            half = len(batch) // 2
            yield from self._failing(batch.slice(0, half), offset)
            yield from self._failing(batch.slice(half), offset + half)


def check_condition(condition: Expression, schema: pa.Schema, open: bool = False) -> None:
    """Raises ConfigError (``plan.unknown_column``, ``plan.expression_type``) unless it is true, false or null."""
    import pyarrow as pa

    if open and any(schema.get_field_index(name) < 0 for name in condition.roots):
        return
    kind = condition.type_in(schema)
    if not pa.types.is_boolean(kind) and not pa.types.is_null(kind):
        raise ConfigError.of(
            "plan.expression_type",
            f"`{condition.text}` is not a condition: it gives {kind}",
            pointer=condition.pointer,
            cause="a condition is true, false or null",
            fix=f"compare it with something, for example `{condition.text} > 0`"
            if _number(kind)
            else "compare it with something",
        )


def roots_of(operations: Sequence[Operation], columns: frozenset[str] | None) -> frozenset[str] | None:
    """The input columns that the operations of a program need to give these output columns; None: all."""
    needed = columns
    for operation in reversed(operations):
        if isinstance(operation, Project):
            needed = frozenset(operation.columns.values())
        elif needed is None:
            continue
        elif isinstance(operation, Where):
            needed |= frozenset(operation.condition.roots)
        elif isinstance(operation, Assign):
            needed = (needed - operation.columns.keys()) | _roots(operation)
    return needed


def _typed(operation: Operation, schema: pa.Schema, open: bool) -> tuple[list[Operation], pa.Schema]:
    if isinstance(operation, Where):
        check_condition(operation.condition, schema, open)
        return [operation], schema
    if isinstance(operation, Assign):
        return _typed_assign(operation, schema, open)
    if isinstance(operation, Pick):
        return _typed_pick(operation, schema)
    if isinstance(operation, Omit):
        operation = _kept_columns(operation, schema)
    return [operation], _projected(operation, schema)


def _typed_assign(operation: Assign, schema: pa.Schema, open: bool) -> tuple[list[Operation], pa.Schema]:
    import pyarrow as pa

    types: dict[str, pa.DataType] = {}
    problems: list[Problem] = []
    for name, expression in operation.columns.items():
        if open and any(schema.get_field_index(root) < 0 for root in expression.roots):
            continue
        try:
            types[name] = expression.type_in(schema)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)
    for name, kind in types.items():
        index = schema.get_field_index(name)
        field = pa.field(name, kind)
        schema = schema.append(field) if index < 0 else schema.set(index, field)
    return [replace(operation, types=types)], schema


def _typed_pick(operation: Pick, schema: pa.Schema) -> tuple[list[Operation], pa.Schema]:
    """A pick is an assignment of the computed ones under names that nobody has, then a projection."""
    computed: dict[str, Expression] = {}
    source: dict[str, str] = {}
    problems: list[Problem] = []
    for new, old in operation.columns.items():
        if schema.get_field_index(old) >= 0:
            source[new] = old
            continue
        pointer = f"{operation.pointer}/{new}"
        if old.isidentifier():
            problems.append(unknown_column(old, schema.names, pointer))
            continue
        source[new] = f"{new}\x00computed"
        computed[source[new]] = Expression.parse(old, pointer)
    if problems:
        raise ConfigError(*problems)
    steps, widened = _typed_assign(Assign(computed), schema, False) if computed else ([], schema)
    projection = Project(source)
    return [*steps, projection], _projected(projection, widened)


def _kept_columns(operation: Omit, schema: pa.Schema) -> Project:
    named = [(name, "/drop") for name in operation.drop] + [(name, "/rename") for name in operation.rename]
    missing = [(name, place) for name, place in named if schema.get_field_index(name) < 0]
    if missing:
        raise ConfigError(*(unknown_column(name, schema.names, place) for name, place in missing))
    kept = [name for name in schema.names if name not in operation.drop]
    names = [operation.rename.get(name, name) for name in kept]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError.of(
            "plan.duplicate_column",
            f"two columns would be named `{twice}`",
            pointer="/rename",
            fix="drop one of them, or choose another name",
        )
    return Project(dict(zip(names, kept, strict=True)))


def _projected(operation: Project, schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([schema.field(old).with_name(new) for new, old in operation.columns.items()], schema.metadata)


def _with_live_columns(operations: Sequence[Operation]) -> list[Operation]:
    """Each filter learns which columns anything later reads, so that it copies no others."""
    ready: list[Operation] = []
    for index, operation in enumerate(operations):
        later = operations[index + 1 :]
        ready.append(replace(operation, live=roots_of(later, None)) if isinstance(operation, Where) else operation)
    return ready


def _roots(operation: Assign) -> frozenset[str]:
    return frozenset(root for expression in operation.columns.values() for root in expression.roots)


def _true_rows(condition: Expression, columns: dict[str, pa.Array], rows: int) -> pa.UInt64Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = condition.evaluate(columns, rows)
    return pc.indices_nonzero(mask.cast(pa.bool_()) if pa.types.is_null(mask.type) else mask)


def _assigned(operation: Assign, columns: dict[str, pa.Array], rows: int) -> dict[str, pa.Array]:
    types = operation.types or {}
    made: dict[str, pa.Array] = {}
    for name, expression in operation.columns.items():
        array = expression.evaluate(columns, rows)
        planned = types.get(name, array.type)
        made[name] = array if array.type == planned else array.cast(planned)
    return made


def _record_batch(columns: dict[str, pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    import pyarrow as pa

    if not schema.names:
        return pa.record_batch({"rows": pa.nulls(rows)}).select([])
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
