"""Column types: the words of a configuration as Arrow types, and how a type grows when the data asks for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Problem

if TYPE_CHECKING:
    import pyarrow as pa

_WORDS = {
    "bool": "bool_",
    "boolean": "bool_",
    "int": "int64",
    "integer": "int64",
    "float": "float64",
    "double": "float64",
    "number": "float64",
    "text": "string",
    "string": "string",
    "str": "string",
    "binary": "binary",
    "bytes": "binary",
    "date": "date32",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": "float32",
    "float64": "float64",
}
_KNOWN = "text, int, float, bool, date, time, timestamp, timestamp(utc), decimal(10, 2), binary, [type] or {name: type}"


def schema_of_words(columns: Mapping[str, Any]) -> pa.Schema:
    """The Arrow schema of ``{column: type words}``. Raises ConfigError (``files.type_word``) for each unknown word.

    A list of one type is a list, a mapping is a struct; ``timestamp`` has no zone, ``timestamp(utc)`` is an instant.
    """
    import pyarrow as pa

    problems: list[Problem] = []
    fields = [pa.field(name, _type_of(words, f"/schema/{name}", problems)) for name, words in columns.items()]
    if problems:
        raise ConfigError(*problems)
    return pa.schema(fields)


def _type_of(words: Any, pointer: str, problems: list[Problem]) -> pa.DataType:
    import pyarrow as pa

    if isinstance(words, Mapping) and words:
        return pa.struct([pa.field(str(k), _type_of(v, f"{pointer}/{k}", problems)) for k, v in words.items()])
    if isinstance(words, list) and len(words) == 1:
        return pa.list_(_type_of(words[0], f"{pointer}/0", problems))
    found = _plain_type(words) if isinstance(words, str) else None
    if found is None:
        problems.append(
            Problem("files.type_word", f"`{words}` is not a type of a column", pointer=pointer, fix=f"write {_KNOWN}")
        )
        return pa.null()
    return found


def _plain_type(words: str) -> pa.DataType | None:
    import pyarrow as pa

    word = re.sub(r"\s+", "", words.lower())
    if word in _WORDS:
        return getattr(pa, _WORDS[word])()
    if word == "time":
        return pa.time64("us")
    if word in ("timestamp", "datetime"):
        return pa.timestamp("us")
    if word in ("timestamp(utc)", "instant"):
        return pa.timestamp("us", "UTC")
    decimal = re.fullmatch(r"decimal\((\d+)(?:,(\d+))?\)", word)
    if decimal and 1 <= int(decimal[1]) <= 38 and int(decimal[2] or 0) <= int(decimal[1]):
        return pa.decimal128(int(decimal[1]), int(decimal[2] or 0))
    return None


def widen(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both, or None. Text holds everything, a float also whole numbers."""
    import pyarrow as pa

    if old == new or pa.types.is_null(new) or pa.types.is_string(old):
        return old
    if pa.types.is_null(old):
        return new
    if pa.types.is_floating(old) and pa.types.is_integer(new):
        return old
    if pa.types.is_integer(old) and pa.types.is_integer(new):
        return old
    if pa.types.is_integer(old) and pa.types.is_floating(new):
        return pa.float64()
    if pa.types.is_list(old) and pa.types.is_list(new):
        inner = widen(old.value_type, new.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        return pa.struct(grown(list(old), list(new)))
    return None


def grown(old: list[pa.Field], new: list[pa.Field]) -> list[pa.Field]:
    """The fields of ``old``, widened where ``new`` asks for it and can have it, then those only in ``new``."""
    import pyarrow as pa

    asked = {field.name: field.type for field in new}
    result = []
    for field in old:
        wider = widen(field.type, asked.pop(field.name, field.type))
        result.append(field if wider is None else pa.field(field.name, wider))
    return result + [pa.field(name, kind) for name, kind in asked.items()]
