"""SQL expressions over the columns of one row: parsed once, confined to their row, typed before the start.

The language is Polars SQL. An expression sees one row: aggregates, windows and anything that changes the
number of rows are refused, because a batch's border would change their result.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError, Problem

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

SHOWN = 300
"""Characters of an expression that a message shows."""
CLOCK_WORDS = frozenset(
    ["now", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "getdate", "sysdate"]
)
ROW_CHANGING = frozenset(
    {"Explode", "SubPlan", "Filter", "Slice", "Gather", "Sort", "SortBy", "Over", "Rolling", "Selector"}
)


@dataclass(frozen=True)
class Expression:
    """One checked expression: ``text`` as written, ``roots`` the columns it reads, ``pointer`` its place."""

    text: str
    pointer: str
    expr: pl.Expr
    roots: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, pointer: str) -> Expression:
        """Parse and confine to one row.

        Raises ConfigError: ``config.expression`` (not an expression), ``config.expression_scope`` (needs more
        than its row, or the time of day).
        """
        import polars as pl

        try:
            expr = pl.sql_expr(text)
            roots = tuple(dict.fromkeys(expr.meta.root_names()))
        except polars_errors() as error:
            raise ConfigError(_not_parsed(text, pointer, error)) from None
        for cause in beyond_one_row(text, expr, roots):
            raise ConfigError(_out_of_scope(text, pointer, cause))
        return cls(text, pointer, expr, roots)

    def type_in(self, schema: pa.Schema) -> pa.DataType:
        """The Arrow type of the result on rows of this schema.

        Raises ConfigError: ``plan.unknown_column``, ``plan.expression_type``.
        """
        from dataflare.rows import normal_type

        self.require_columns(schema)
        try:
            result = self.evaluate({name: _empty(schema.field(name).type) for name in self.roots}, 0)
        except ExpressionFailed as failed:
            raise ConfigError(self._mistyped(failed.cause, schema)) from None
        return normal_type(result.type)

    def require_columns(self, schema: pa.Schema) -> None:
        """Raises ConfigError (``plan.unknown_column``) for columns that the schema does not have."""
        missing = [name for name in self.roots if schema.get_field_index(name) < 0]
        if missing:
            raise ConfigError(*(unknown_column(name, schema.names, self.pointer) for name in missing))

    def evaluate(self, columns: dict[str, pa.Array], rows: int) -> pa.Array:
        """The value for each of ``rows`` rows, given at least the root columns. Raises ExpressionFailed."""
        import polars as pl

        try:
            if not self.roots:
                return _arrow(pl.select(self.expr).to_series().new_from_index(0, rows))
            return _arrow(frame_of(columns, self.roots).select(self.expr).to_series())
        except polars_errors() as error:
            raise ExpressionFailed(self, first_line(error)) from None

    def _mistyped(self, cause: str, schema: pa.Schema) -> Problem:
        columns = ", ".join(f"`{name}` is {schema.field(name).type}" for name in self.roots)
        return Problem(
            "plan.expression_type",
            f"`{shown(self.text)}` does not fit the types of its columns: {cause}",
            pointer=self.pointer,
            cause=columns or None,
            fix="compare and compute with values of the same kind, or convert with `cast(column as type)`",
        )


class ExpressionFailed(Exception):
    """An expression could not be computed on some row; ``cause`` is the first line of the reason."""

    def __init__(self, expression: Expression, cause: str) -> None:
        super().__init__(f"`{shown(expression.text)}`: {cause}")
        self.expression = expression
        self.cause = cause


def parsed(texts: Mapping[str, str], pointer: str) -> dict[str, Expression]:
    """Named expressions, parsed. Raises ConfigError with every one that is wrong."""
    expressions: dict[str, Expression] = {}
    problems: list[Problem] = []
    for name, text in texts.items():
        try:
            expressions[name] = Expression.parse(text, f"{pointer}/{escaped(name)}")
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)
    return expressions


def escaped(name: str) -> str:
    """A name as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def unknown_column(name: str, known: Iterable[str], pointer: str) -> Problem:
    """The problem of a column that is not there, with the nearest name as fix."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return Problem(
        "plan.unknown_column",
        f"there is no column `{name}`",
        pointer=pointer,
        cause="the columns are " + ", ".join(f"`{known_name}`" for known_name in names)
        if names
        else "there are no columns",
        fix=f"write `{near[0]}`"
        if near
        else "use one of these columns, or make it in an earlier step with std/compute",
        details={"column": name, "columns": names},
    )


def frame_of(columns: dict[str, pa.Array], names: Iterable[str]) -> pl.DataFrame:
    """These columns as a Polars frame, without copying where Polars can."""
    import polars as pl

    series: dict[str, Any] = {name: pl.from_arrow(columns[name]) for name in names}
    return pl.DataFrame(series)


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _arrow(series: pl.Series) -> pa.Array:
    import polars as pl
    import pyarrow as pa

    array = series.to_arrow(compat_level=pl.CompatLevel.oldest())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _empty(type: pa.DataType) -> pa.Array:
    import pyarrow as pa

    return pa.nulls(0, type)


def polars_errors() -> tuple[type[BaseException], ...]:
    """What Polars raises for an expression that cannot be computed."""
    from polars import exceptions

    # TypeError and ValueError: a column type that Polars does not know
    return (exceptions.PolarsError, exceptions.PanicException, TypeError, ValueError)


def shown(text: str) -> str:
    """An expression as a message shows it."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _not_parsed(text: str, pointer: str, error: BaseException) -> Problem:
    return Problem(
        "config.expression",
        f"`{shown(text)}` is not an expression" if text.strip() else "the expression is empty",
        pointer=pointer,
        cause=shown(first_line(error)) if text.strip() else None,
        fix="write a SQL expression over the columns, for example `temperature > 20 and status = 'ok'`",
    )


def _out_of_scope(text: str, pointer: str, cause: str) -> Problem:
    return Problem(
        "config.expression_scope",
        f"`{shown(text)}` cannot be computed from one row: {cause}",
        pointer=pointer,
        cause="rows arrive in batches: a result that depends on other rows or on the time would change with them",
        fix="use only the columns of the row; sums and counts belong in a keyed or window step",
    )


def beyond_one_row(text: str, expr: pl.Expr, roots: tuple[str, ...]) -> Iterator[str]:
    """Why an expression cannot be computed from one row, if it cannot."""
    for word in sorted(CLOCK_WORDS & _words(text) - set(roots)):
        yield f"`{word}` depends on when it is computed"
    for node, kind in _nodes(expr):
        if kind in ROW_CHANGING or not _keeps_to_its_row(node, kind):
            yield "it aggregates, looks at other rows or changes their number"


def _words(text: str) -> set[str]:
    unquoted = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", " ", text)
    return {word.lower() for word in re.findall(r"[A-Za-z_]\w*", unquoted)}


def _nodes(expr: pl.Expr) -> Iterator[tuple[pl.Expr, str]]:
    kind = _kind(expr)
    yield expr, kind
    for child in expr.meta.pop():
        # inside a list (`array_unique(tags)`) an expression may look at all elements: they are of one row
        if kind != "Eval" or not _inside_list(child):
            yield from _nodes(child)


def _inside_list(expr: pl.Expr) -> bool:
    return _kind(expr) == "Element" or any(_inside_list(child) for child in expr.meta.pop())


def _kind(node: pl.Expr) -> str:
    # the only public view of a node's kind; a version that serialises otherwise is caught by the tests
    value = json.loads(node.meta.serialize(format="json"))
    return value if isinstance(value, str) else str(next(iter(value)))


def _keeps_to_its_row(node: pl.Expr, kind: str) -> bool:
    from polars import exceptions

    if kind == "Literal":
        return True
    try:
        return node.meta.is_row_separable() and (node.meta.is_length_preserving() or node.meta.is_scalar())
    except exceptions.PolarsError:
        # a function that Polars resolves by type (`round`, `in`) tells nothing without a schema; these are row-wise
        return True
