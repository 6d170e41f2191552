"""Aggregates on columns of a schema: typed before the start, with every mistake at its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflare import Batch, ConfigError, Problem
from dataflare_std.expression import first_line, polars_errors, shown
from dataflare_std.frames import series_of
from dataflare_std.moments import in_micros
from dataflare_std.relation import Assign, Program, Project
from dataflare_std.window.folds import TIME, Fold, Unfit, fold
from dataflare_std.window.parse import Parsed

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


_ALL = "#all"
"""The key of a step without key columns."""


@dataclass(frozen=True)
class Typed:
    """Parsed aggregates on rows of one schema."""

    program: Program
    """Gives a batch's rows as keys, time and arguments."""
    keys: list[str]
    """The key columns as they are called inside, where no name of the input can clash."""
    kinds: Mapping[str, pl.DataType]
    """The type of each of these columns, and of ``TIME``."""
    folds: Mapping[str, Fold]
    results: Mapping[str, pl.Expr]
    types: Mapping[str, pa.DataType]
    """The type of each aggregate."""

    @classmethod
    def of(cls, parsed: Parsed, by: Sequence[str], time: str, schema: pa.Schema) -> Typed:
        """Raises ConfigError with everything that does not fit."""
        import polars as pl
        import pyarrow as pa

        arguments = Assign(parsed.arguments)
        keys = {f"#k{number}": name for number, name in enumerate(by)}
        picked = Project({**keys, TIME: time, **{name: name for name in parsed.arguments}})
        program = Program.of([arguments, picked], schema)
        empty = _frame(pa.RecordBatch.from_pylist([], program.output))
        kinds = {**dict(empty.schema), TIME: pl.Int64(), **({} if by else {_ALL: pl.Int8()})}
        folds, problems = {}, []
        for name, function in parsed.functions.items():
            try:
                folds[name] = fold(name, function, kinds.get(function.argument or "", pl.Null()))
            except Unfit as unfit:
                found = program.output.field(function.argument).type if function.argument else "nothing"
                text = parsed.arguments[function.argument].text if function.argument else ""
                problems.append(_unfit(text, function.kind, str(unfit), str(found), function.pointer))
        if problems:
            raise ConfigError(*problems)
        types = _types(parsed, folds, kinds)
        results = {name: each.expr for name, each in parsed.results.items()}
        return cls(program, list(keys) or [_ALL], kinds, folds, results, types)

    def rows(self, batch: Batch) -> tuple[Batch, pl.DataFrame]:
        """The rows that could be computed (the others are rejected), and their keys, times and arguments."""
        made = self.program.run_or_reject(batch)
        frame = _frame(made.arrow)
        return made, self._with_key(frame.with_columns(in_micros(TIME, frame.schema[TIME]).alias(TIME)))

    def key_frame(self, keys: pa.RecordBatch, rows: int) -> pl.DataFrame:
        """Rows of the input's key columns as keys."""
        import polars as pl

        if self.keys == [_ALL]:
            return pl.DataFrame({_ALL: pl.Series([0] * rows, dtype=pl.Int8)})
        return _frame(keys.rename_columns(self.keys))

    def _with_key(self, frame: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        return frame.with_columns(pl.lit(0, pl.Int8).alias(_ALL)) if self.keys == [_ALL] else frame


def _frame(rows: pa.RecordBatch) -> pl.DataFrame:
    import polars as pl

    columns = zip(rows.schema.names, rows.columns, strict=True)
    return pl.DataFrame([series_of(name, column) for name, column in columns])


def _types(parsed: Parsed, folds: Mapping[str, Fold], kinds: Mapping[str, pl.DataType]) -> dict[str, pa.DataType]:
    """The types of the results, found on no rows. Raises ConfigError."""
    import polars as pl
    import pyarrow as pa

    from dataflare.rows import normal_type
    from dataflare_std.window.tables import Tables

    tables = Tables([], "#part", folds, {**kinds, "#part": pl.Int64()})
    functions = tables.results(lambda table: table.rows(), ["#part"])
    types, problems = {}, []
    for name, each in parsed.results.items():
        try:
            array = functions.select(each.expr.alias(name)).to_series().to_arrow()
            types[name] = normal_type(array.type)
        except polars_errors() as error:
            problems.append(_mistyped(each.text, first_line(error), each.pointer))
    if problems:
        raise ConfigError(*problems)
    return {name: pa.string() if pa.types.is_string_view(kind) else kind for name, kind in types.items()}


def _unfit(text: str, kind: str, needs: str, found: str, pointer: str) -> Problem:
    return Problem(
        "plan.expression_type",
        f"`{shown(text)}` does not fit the types of its columns: `{kind}` takes {needs}",
        pointer=pointer,
        cause=f"its argument is {found}",
        fix="convert with `cast(column as type)`",
    )


def _mistyped(text: str, cause: str, pointer: str) -> Problem:
    return Problem(
        "plan.expression_type",
        f"`{shown(text)}` does not fit the types of its columns: {cause}",
        pointer=pointer,
        fix="compute with values of the same kind, or convert with `cast(… as type)`",
    )
