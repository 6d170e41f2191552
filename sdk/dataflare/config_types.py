"""Annotations as they are read from a flow file: no surprises in conversion, unions told apart by ``type``."""

from __future__ import annotations

import operator
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Any, Literal, Union


def pydantic_type(annotation: Any) -> Any:
    """The annotation with the rules of configurations.

    A boolean is never a number and a number never a boolean, in lists, dicts and unions too; ``"5"`` is a number where
    one is wanted (from ``${env:N}``); classes that all have a ``type: Literal[...]`` are told apart by it.
    """
    if typing.is_typeddict(annotation):
        return _typed_dict(annotation)
    if annotation in (int, float):
        return Annotated[annotation, Read(_number)]
    if annotation is bool:
        return Annotated[bool, Read(_boolean)]
    origin = typing.get_origin(annotation)
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        return annotation
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(annotation))
    return _generic(annotation)


class Hidden(ValueError):
    """Says what is wrong with a value that must not be shown."""


@dataclass(frozen=True)
class Read:
    """Metadata: what a value passes before it is converted."""

    read: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.read, handler(source))


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError("expected true or false")


def _generic(annotation: Any) -> Any:
    args = typing.get_args(annotation)
    plain = tuple(pydantic_type(arg) if arg is not Ellipsis and not isinstance(arg, list) else arg for arg in args)
    if plain == args or not hasattr(annotation, "copy_with"):
        return annotation if plain == args else typing.get_origin(annotation)[plain]
    return annotation.copy_with(plain)


def _union(members: tuple[Any, ...]) -> Any:
    real = [member for member in members if member is not types.NoneType]
    if len(real) > 1 and all(_has_tag(member) for member in real):
        from pydantic import Discriminator

        tagged: Any = Annotated[_either(real), Discriminator("type")]
        return tagged | None if len(real) < len(members) else tagged
    return _either(members)


def _either(members: Sequence[Any]) -> Any:
    return reduce(operator.or_, (pydantic_type(member) for member in members))


def _has_tag(member: Any) -> bool:
    if not isinstance(member, type):
        return False
    try:
        return typing.get_origin(typing.get_type_hints(member).get("type")) is Literal
    except (NameError, TypeError):
        return False


def _typed_dict(annotation: Any) -> Any:
    """The same TypedDict made by typing_extensions, which pydantic needs on Python 3.11."""
    from typing_extensions import TypedDict

    hints = typing.get_type_hints(annotation, include_extras=True)
    columns = {
        name: (typing.Required if name in annotation.__required_keys__ else typing.NotRequired)[
            pydantic_type(_bare(kind))
        ]
        for name, kind in hints.items()
    }
    return TypedDict(annotation.__name__, columns)  # type: ignore[operator]


def _bare(kind: Any) -> Any:
    wrapped = typing.get_origin(kind)
    return typing.get_args(kind)[0] if wrapped in (typing.Required, typing.NotRequired) else kind
