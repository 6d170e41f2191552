"""``validate``: rules that rows must keep."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from dataflare import Batch, ConfigError, Expr, Problem, Processor, Schema, field
from dataflare_std.expression import Expression, ExpressionFailed, parsed
from dataflare_std.relation import check_condition

if TYPE_CHECKING:
    import pyarrow as pa


class Validate(Processor, cardinality="filter"):
    """Reject the rows that break a rule, with the rule's code; all others pass unchanged."""

    rules: dict[str, Expr] = field(
        help="Code → the condition that must hold, such as `too_hot: temperature < 200`; null counts as broken. "
        "Of several broken rules the first one names the reject.",
        min_length=1,
    )

    @cached_property
    def conditions(self) -> dict[str, Expression]:
        """The parsed rules. Raises ConfigError with every one that is not an expression."""
        return parsed(self.rules, "/rules")

    def plan(self, schema: Schema) -> Schema:
        """The schema as it is. Raises ConfigError for rules that are no conditions on it."""
        problems: list[Problem] = []
        for condition in self.conditions.values():
            try:
                check_condition(condition, schema.arrow, schema.open)
            except ConfigError as error:
                problems.extend(error.problems)
        if problems:
            raise ConfigError(*problems)
        return schema

    def needs(self, columns: frozenset[str] | None, schema: Schema) -> frozenset[str] | None:
        """What the rules read, and what is wanted behind them."""
        read = frozenset(root for condition in self.conditions.values() for root in condition.roots)
        return None if columns is None else columns | read

    def open(self) -> None:
        """Parse the rules, so that the first batch does not wait for it."""
        _ = self.conditions

    def process(self, batch: Batch) -> Batch:
        """The rows that keep all rules."""
        for code, condition in self.conditions.items():
            batch = batch.reject(_broken(condition, batch), code, f"`{condition.text}` does not hold")
        return batch


def _broken(condition: Expression, batch: Batch) -> pa.Array:
    """Which rows break the rule; one that cannot be computed on a row is broken there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = dict(zip(batch.columns, batch.arrow.columns, strict=True))
    try:
        holds = condition.evaluate(columns, len(batch))
    except ExpressionFailed:
        if len(batch) < 2:
            return pa.array([True] * len(batch), pa.bool_())
        half = len(batch) // 2
        parts = [_broken(condition, batch.slice(0, half)), _broken(condition, batch.slice(half))]
        return pa.concat_arrays(parts)
    return pc.invert(pc.fill_null(holds.cast(pa.bool_()), False))
