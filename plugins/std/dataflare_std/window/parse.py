"""Aggregates as they are written (``sum(price * pieces) / count(*)``): cut into functions, and what joins them.

The language is Polars SQL. An expression is cut at its aggregate functions: what stands inside one is computed for
each row, each function is computed in parts that can be merged, and what stands outside is computed for each window.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError, Problem
from dataflare.declare import nearest
from dataflare_std.expression import Expression, beyond_one_row, escaped, first_line, polars_errors, shown

if TYPE_CHECKING:
    import polars as pl

FUNCTIONS = ("sum", "count", "min", "max", "avg", "first", "last")
"""The names that a message offers; SQL has a few more for the same."""
_ROW = "sum a column, count rows, or take the key columns from the output"
_KINDS = {
    "Sum": "sum",
    "Min": "min",
    "Max": "max",
    "Mean": "avg",
    "First": "first",
    "Last": "last",
    "NUnique": "distinct",
    "Count": "count",
    "Std": "stddev",
    "Var": "variance",
    "Median": "median",
}
_NULL = {"Literal": {"Scalar": {"Null": "Null"}}}


@dataclass(frozen=True)
class Function:
    """One aggregate function: what it is called, its argument's column (None: it counts rows), its place."""

    kind: str
    argument: str | None
    pointer: str
    ddof: int = 1


@dataclass
class Parsed:
    """Aggregates cut apart; columns made on the way have names that no input column has."""

    arguments: dict[str, Expression] = field(default_factory=dict)
    """Column → what is computed for each row."""
    functions: dict[str, Function] = field(default_factory=dict)
    """Column → the function that gives it for each window."""
    results: dict[str, Expression] = field(default_factory=dict)
    """Name → what is computed from the functions' columns."""
    _known: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> frozenset[str]:
        """The input columns that are read."""
        return frozenset(root for expression in self.arguments.values() for root in expression.roots)

    def add(self, name: str, text: str, pointer: str) -> None:
        """One more aggregate. Raises ConfigError ``window.aggregate``."""
        try:
            tree = _tree(_parse(text))
        except polars_errors() as error:
            raise ConfigError(_unreadable(text, pointer, first_line(error))) from None
        rest = self._cut(tree, text, pointer)
        expr = _expr(rest)
        for cause in beyond_one_row(text, expr, ()):
            raise ConfigError(_refused(text, pointer, cause))
        self.results[name] = Expression(text, pointer, expr, tuple(dict.fromkeys(expr.meta.root_names())))

    def _cut(self, node: Any, text: str, pointer: str) -> Any:
        """The tree with a column in the place of each aggregate function."""
        if node == "Len":
            return self._column(Function("rows", None, pointer), "rows")
        if isinstance(node, list):
            return [self._cut(item, text, pointer) for item in node]
        if not isinstance(node, dict):
            return node
        if "Column" in node:
            why = f"`{node['Column']}` stands outside of a function: a window has many rows"
            raise ConfigError(_refused(text, pointer, why, _ROW))
        if "Agg" in node:
            ((name, inner),) = node["Agg"].items()
            return self._function(name, inner, text, pointer)
        return {key: self._cut(item, text, pointer) for key, item in node.items()}

    def _function(self, name: str, inner: Any, text: str, pointer: str) -> Any:
        kind, ddof = _KINDS.get(name), 1
        if kind is None:
            why = f"its parts cannot be merged: `{name.lower()}` needs all rows of a window at once"
            raise ConfigError(_refused(text, pointer, why))
        argument = inner
        if isinstance(inner, list):
            argument, ddof = inner
        elif isinstance(inner, dict) and "input" in inner:
            argument = inner["input"]
            if inner.get("include_nulls"):
                return self._column(Function("rows", None, pointer), "rows")
        if kind == "distinct":
            argument = _inside(argument, "DropNulls")
        filtered = argument.get("Filter") if isinstance(argument, dict) else None
        if filtered is not None:
            parts = {"predicate": filtered["by"], "truthy": filtered["input"], "falsy": _NULL}
            argument = {"Ternary": parts}
        column = self._argument(argument, text, pointer)
        return self._column(Function(kind, column, pointer, ddof), f"{kind} {ddof} {column}")

    def _argument(self, tree: Any, text: str, pointer: str) -> str:
        expr = _expr(tree)
        roots = tuple(dict.fromkeys(expr.meta.root_names()))
        for cause in beyond_one_row(text, expr, roots):
            raise ConfigError(_refused(text, pointer, f"inside of a function, {cause}"))
        key = json.dumps(tree, sort_keys=True)
        if key not in self._known:
            column = self._known[key] = f"#{len(self.arguments)}"
            self.arguments[column] = Expression(text, pointer, expr, roots)
        return self._known[key]

    def _column(self, function: Function, key: str) -> Any:
        if key not in self._known:
            column = self._known[key] = f"#f{len(self.functions)}"
            self.functions[column] = function
        return {"Column": self._known[key]}


def parse(texts: Mapping[str, str], pointer: str) -> Parsed:
    """Named aggregates. Raises ConfigError with every one that is wrong."""
    parsed = Parsed()
    problems: list[Problem] = []
    for name, text in texts.items():
        try:
            parsed.add(name, text, f"{pointer}/{escaped(name)}")
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)
    return parsed


def _parse(text: str) -> pl.Expr:
    import polars as pl

    return pl.sql_expr(re.sub(r"(?i)\bmean\s*\(", "avg(", text))


def _tree(expr: pl.Expr) -> Any:
    return json.loads(expr.meta.serialize(format="json"))


def _expr(tree: Any) -> pl.Expr:
    import polars as pl

    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


def _inside(tree: Any, function: str) -> Any:
    """The argument of a call of ``function``; anything else as it is."""
    call = tree.get("Function") if isinstance(tree, dict) else None
    return call["input"][0] if call is not None and call["function"] == function else tree


def _refused(text: str, pointer: str, cause: str, fix: str | None = None) -> Problem:
    fix = fix or f"use {', '.join(FUNCTIONS)}, and what can be computed from these"
    return Problem("window.aggregate", f"`{shown(text)}` is not an aggregate", pointer=pointer, cause=cause, fix=fix)


def _unreadable(text: str, pointer: str, cause: str) -> Problem:
    unknown = re.search(r"unsupported function '(\w+)'", cause)
    guess = nearest(unknown[1], FUNCTIONS) if unknown else None
    why = f"there is no function `{unknown[1]}`" if unknown else cause
    return _refused(text, pointer, why, f"write `{guess}`" if guess else "for example `sum(price)` or `count(*)`")
