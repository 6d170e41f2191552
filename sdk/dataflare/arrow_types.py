"""Python types as Arrow types, and classes as schemas."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.schema import Schema

_DECIMAL = (38, 9)


def arrow_type(python_type: Any) -> pa.DataType:
    """The Arrow type of a Python type.

    Whole numbers are int64, times in microseconds (``datetime`` in UTC), ``Decimal`` is decimal128(38, 9), ``UUID`` is
    text, an Enum or Literal the type of its values, a dataclass, TypedDict or model a struct, ``X | None`` is ``X``.
    ``Annotated[..., pa.int32()]`` names an Arrow type. Raises ConfigError (``schema.python_type``).
    """
    import pyarrow as pa

    if isinstance(python_type, pa.DataType):
        return python_type
    if python_type is None or python_type is types.NoneType or python_type is Any:
        return pa.null()
    origin, args = typing.get_origin(python_type), typing.get_args(python_type)
    if origin is Annotated:
        named = next((item for item in args[1:] if isinstance(item, pa.DataType)), None)
        return named if named is not None else arrow_type(args[0])
    if origin in (Union, types.UnionType):
        return _union([arrow_type(arg) for arg in args if arg is not types.NoneType], python_type)
    if origin is Literal:
        return _union([arrow_type(type(value)) for value in args], python_type)
    if origin is not None:
        return _generic(origin, args, python_type)
    return _plain(python_type)


def schema_of(type: Any) -> Schema:
    """The schema of the rows that a dataclass, TypedDict, model or annotated class describes.

    Every column may be null: neither Polars nor DuckDB keeps track of it. Raises ConfigError (``schema.python_type``).
    """
    import pyarrow as pa

    from dataflare.schema import Schema

    return Schema(pa.schema(_fields(type)))


def describes_rows(python_type: Any) -> bool:
    """Whether ``schema_of`` takes it."""
    if not isinstance(python_type, type):
        return False
    model = hasattr(python_type, "model_fields")
    return model or dataclasses.is_dataclass(python_type) or typing.is_typeddict(python_type)


def _fields(python_type: Any) -> list[pa.Field]:
    import pyarrow as pa

    if not describes_rows(python_type) and not getattr(python_type, "__annotations__", None):
        raise _unknown(python_type, "it has no annotated fields")
    try:
        hints = typing.get_type_hints(python_type, include_extras=True)
    except NameError as error:
        raise _unknown(python_type, str(error)) from error
    found = []
    for name, kind in hints.items():
        if name.startswith(("_", "model_")) or typing.get_origin(kind) is typing.ClassVar:
            continue
        bare = typing.get_args(kind)[0] if typing.get_origin(kind) in (typing.Required, typing.NotRequired) else kind
        found.append(pa.field(name, arrow_type(bare)))
    return found


def _plain(python_type: Any) -> pa.DataType:
    import datetime
    import decimal
    import enum
    import uuid

    import pyarrow as pa

    if not isinstance(python_type, type):
        raise _unknown(python_type)
    if issubclass(python_type, enum.Enum):
        return _union([arrow_type(type(member.value)) for member in python_type], python_type)
    if describes_rows(python_type):
        return pa.struct(_fields(python_type))
    known: tuple[tuple[type, Any], ...] = (
        (bool, pa.bool_()),
        (int, pa.int64()),
        (float, pa.float64()),
        (str, pa.string()),
        (bytes, pa.binary()),
        (datetime.datetime, pa.timestamp("us", "UTC")),
        (datetime.date, pa.date32()),
        (datetime.time, pa.time64("us")),
        (datetime.timedelta, pa.duration("us")),
        (decimal.Decimal, pa.decimal128(*_DECIMAL)),
        (uuid.UUID, pa.string()),
        (list, pa.list_(pa.null())),
        (tuple, pa.list_(pa.null())),
    )
    for known_type, found in known:
        if issubclass(python_type, known_type):
            return found
    raise _unknown(python_type)


def _generic(origin: Any, args: tuple[Any, ...], python_type: Any) -> pa.DataType:
    import pyarrow as pa

    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return pa.list_(_union([arrow_type(arg) for arg in args], python_type))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return pa.map_(arrow_type(args[0]), arrow_type(args[1]))
    if isinstance(origin, type) and issubclass(origin, (Sequence, set, frozenset)):
        return pa.list_(arrow_type(args[0]))
    return arrow_type(origin)


def _union(found: list[pa.DataType], python_type: Any) -> pa.DataType:
    import pyarrow as pa

    unique = list(dict.fromkeys(found))
    if len(unique) == 1:
        return unique[0]
    if unique and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in unique):
        return pa.float64()
    raise _unknown(python_type, "its values have no common Arrow type")


def _unknown(python_type: Any, why: str | None = None) -> ConfigError:
    return ConfigError.of(
        "schema.python_type",
        f"`{getattr(python_type, '__name__', python_type)}` has no Arrow type",
        cause=why,
        fix="use int, float, str, bool, bytes, datetime, Decimal, list, dict, a dataclass, or Annotated[..., pa.TYPE]",
    )
