"""What authors give and annotate, as batches and schemas."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any

from dataflare.batch import Batch
from dataflare.errors import ConfigError
from dataflare.schema import Schema
from dataflare.split import Out


def element_type(annotation: Any) -> Any:
    """The type of one row in an annotation such as ``Iterator[tuple[list[Order], int]]``; None if it does not tell."""
    for _ in range(8):
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if annotation is None or annotation is Any:
            return None
        if origin is None:
            return annotation
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return None
        if isinstance(origin, type) and issubclass(origin, Iterable | AsyncIterable):
            annotation = arguments[0] if arguments else None
            continue
        rest = [kind for kind in arguments if kind not in (type(None), Out)]
        if origin is typing.Annotated:
            annotation = arguments[0]
        elif len(rest) == 1:
            annotation = rest[0]
        else:
            return None
    return None


def schema_of_rows(kind: Any) -> Schema | None:
    """The schema of rows of a dataclass, TypedDict or pydantic model; None for everything else."""
    if not describes_rows(kind):
        return None
    from dataflare.types import schema_of

    return normalised(schema_of(kind))


def describes_rows(kind: Any) -> bool:
    """True for a dataclass, a TypedDict or a pydantic model."""
    if not isinstance(kind, type) or issubclass(kind, Batch):
        return False
    return dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or hasattr(kind, "model_fields")


def any_schema(given: Any) -> Schema:
    """A schema of what an author gives for one: a Schema, an Arrow schema, name → type, or a row type."""
    if isinstance(given, Schema):
        return normalised(given)
    found = schema_of_rows(given)
    return found if found is not None else normalised(Schema(given))


def schemas_by_name(given: Any, main: str) -> dict[str, Schema]:
    """Output → schema, of one schema (the main output's) or a dict of them."""
    if isinstance(given, Mapping) and given and all(_is_schema(item) for item in given.values()):
        return {name: any_schema(item) for name, item in given.items()}
    return {main: any_schema(given)}


def _is_schema(item: Any) -> bool:
    import pyarrow as pa

    return isinstance(item, (Schema, pa.Schema, Mapping)) or describes_rows(item)


def normalised(schema: Schema) -> Schema:
    """The schema with one spelling for each type, so that equal ones compare equal."""
    from dataflare.rows import normal_schema

    return Schema(normal_schema(schema.arrow), open=schema.open)


def fit(rows: Any, schema: Schema | None) -> Batch:
    """A batch of the rows in the planned schema. Raises ConfigError for types that do not fit and unknown columns.

    Without a schema the rows stay as they are; an open one may get further columns.
    """
    if schema is None or (schema.open and not len(schema)):
        return Batch.of(rows)
    if isinstance(rows, list) and _only_known(rows, set(schema.names)):
        return Batch.of(rows, schema.arrow)
    return _conform(Batch.of(rows), schema)


def fit_read(rows: Any, schema: Schema | None) -> Batch:
    """A batch of what a source gives: values without Arrow types take the planned ones, all else stays as it is.

    A source may meet new columns and types at any time; the edge decides what becomes of them.
    """
    typed = hasattr(rows, "__arrow_c_array__") or hasattr(rows, "__arrow_c_stream__")
    if schema is None or typed:
        return Batch.of(rows)
    return fit(rows, Schema(schema.arrow, open=True))


def _only_known(rows: list[Any], known: set[str]) -> bool:
    return all(isinstance(row, dict) and known.issuperset(row) for row in rows)


def _conform(batch: Batch, schema: Schema) -> Batch:
    if batch.schema.equals(schema.arrow):
        return batch
    if not schema.open:
        strange = [name for name in batch.columns if name not in schema]
        if strange:
            raise unknown_column(strange[0], schema.names)
    return batch.cast(schema)


def unknown_column(name: str, known: Iterable[str]) -> ConfigError:
    """The error for a column that the plan does not know."""
    return ConfigError.of(
        "step.unknown_column",
        f"the column `{name}` was not planned",
        cause=f"the planned columns are {', '.join(f'`{column}`' for column in known) or 'none'}",
        fix="declare it with `adds=`, annotate the result with a row type, or write `plan` (`Schema(open=True)`: any)",
    )


def base_argument(cls: type, base: type) -> Any:
    """P of ``class X(Source[P])``, through any number of classes between; None if it was not given."""
    for owner in cls.__mro__:
        for generic in getattr(owner, "__orig_bases__", ()):
            origin = typing.get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, base):
                argument = typing.get_args(generic)[0]
                if not isinstance(argument, (typing.TypeVar, str, typing.ForwardRef)):
                    return argument
    return None
