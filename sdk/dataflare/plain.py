"""Plain values of plain types, checked without a model: that is what most flows give, and loading pydantic takes long.

Only what is certainly right passes here. For everything else, and for saying what is wrong, there is the model.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from dataflare.fields import Field
from dataflare.types import Word


def plain_values(known: Mapping[str, Field], given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of all fields, as a model gives them; None if some value or type is not plain, or may be wrong."""
    try:
        return {name: _of_field(field, given) for name, field in known.items()}
    except (_NotPlainError, TypeError):  # a bound that the type does not know
        return None


def plain_json(known: Mapping[str, Field], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of all fields as JSON, as a model shows them; None if some value or type is not plain."""
    try:
        for field in known.values():
            _of_field(field, values)
        return {name: _json(values[name]) for name in known}
    except (_NotPlainError, TypeError):
        return None


class _NotPlainError(Exception):
    """Ask the model."""


def _of_field(known: Field, given: Mapping[str, Any]) -> Any:
    needless = known.default is None or (known.required and known.when is not None)
    value = given.get(known.name, None if needless else known.default)
    if value is None and needless:
        return None
    read = _read(known.annotation, value)
    if read is not None and not all(_holds(bound, limit, read) for bound, limit in known.bounds.items()):
        raise _NotPlainError
    return read


def _read(kind: Any, value: Any) -> Any:
    if kind is Any:
        return value
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (bool, int, str):
        if type(value) is kind and (kind is not str or _is_text(value)):
            return value
        raise _NotPlainError
    origin, args = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and type(value) is kind:
        return _checked(value)
    if origin is Annotated:
        return _read(args[0], _word(args[1:], value))
    if origin is Literal and type(value) is str and value in args:
        return value
    if origin in (Union, types.UnionType):
        return _of_union(args, value)
    if origin is list and type(value) is list:
        return [_read(args[0], item) for item in value]
    if origin is tuple and args[1:] == (...,) and type(value) in (list, tuple):
        return tuple(_read(args[0], item) for item in value)
    if origin is dict and type(value) is dict:
        return {_read(args[0], key): _read(args[1], item) for key, item in value.items()}
    raise _NotPlainError


def _of_union(members: tuple[Any, ...], value: Any) -> Any:
    others = [member for member in members if member is not types.NoneType]
    if value is None and len(others) < len(members):
        return None
    if len(others) == 1:
        return _read(others[0], value)
    raise _NotPlainError


def _checked(value: Any) -> Any:
    """An object that somebody made, such as a default: it is taken as it is where all that it holds is plain."""
    kinds = get_type_hints(type(value), include_extras=True)
    for part in fields(value):
        if not part.init:
            raise _NotPlainError
        _read(kinds[part.name], getattr(value, part.name))
    return value


def _word(metadata: tuple[Any, ...], value: Any) -> Any:
    if len(metadata) != 1 or not isinstance(metadata[0], Word):
        raise _NotPlainError
    try:
        return metadata[0].read(value)
    except ValueError as error:
        raise _NotPlainError from error


def _holds(bound: str, limit: Any, value: Any) -> bool:
    size = len(value) if bound in ("min_length", "max_length") else value
    if bound in ("ge", "min_length"):
        return bool(size >= limit)
    if bound in ("le", "max_length"):
        return bool(size <= limit)
    return bool(size > limit) if bound == "gt" else bound == "lt" and bool(size < limit)


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _json(value: Any) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) in (list, tuple):
        return [_json(item) for item in value]
    if is_dataclass(value):
        return {part.name: _json(getattr(value, part.name)) for part in fields(value)}
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _json(item) for key, item in value.items()}
    raise _NotPlainError
