"""JSON values one by one: what fits a column, and which columns a structure found by DuckDB means."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_STRUCTURE = {"UBIGINT": "int64", "BIGINT": "int64", "HUGEINT": "float64", "DOUBLE": "float64", "BOOLEAN": "bool_"}


ENOUGH = 0.8
"""The share of a sample's values that decides a column's type; the others are refused."""
Convert = Callable[[Any], Any]


class BadValue(Exception):
    """A value that does not fit its column, or a line that is no row; ``code`` as in a refusal."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def fields_of_structure(structure: Mapping[str, Any]) -> list[pa.Field]:
    """The columns that DuckDB's ``json_structure`` means; values of mixed types are text."""
    import pyarrow as pa

    return [pa.field(name, _type_of(found)) for name, found in structure.items()]


def _type_of(found: Any) -> pa.DataType:
    import pyarrow as pa

    if isinstance(found, dict):
        return pa.struct(fields_of_structure(found))
    if isinstance(found, list):
        return pa.list_(_type_of(found[0]))
    if found == "NULL":
        return pa.null()
    return getattr(pa, _STRUCTURE.get(found, "string"))()


def structure_in(value: Any) -> Any:
    """The structure of a JSON value, in DuckDB's words."""
    if isinstance(value, dict):
        return {name: structure_in(part) for name, part in value.items()} or "JSON"
    if isinstance(value, list):
        return [merged([structure_in(part) for part in value])]
    if isinstance(value, bool):
        return "BOOLEAN"
    if value is None:
        return "NULL"
    words: dict[type, str] = {int: "BIGINT", float: "DOUBLE"}
    return words.get(type(value), "VARCHAR")


def merged(found: list[Any]) -> Any:
    """The structure that fits these; where they differ in kind, that of at least four fifths, else ``JSON``."""
    kinds: dict[str, list[Any]] = {}
    for item in found:
        if item != "NULL":
            kinds.setdefault(_kind_of(item), []).append(item)
    if not kinds:
        return "NULL"
    kind, given = max(kinds.items(), key=lambda entry: len(entry[1]))
    if len(given) < ENOUGH * sum(map(len, kinds.values())):
        return "JSON"
    if kind == "object":
        names = dict.fromkeys(name for item in given for name in item)
        return {name: merged([item[name] for item in given if name in item]) for name in names}
    if kind == "list":
        return [merged([item[0] for item in given])]
    return "DOUBLE" if "DOUBLE" in given else given[0]


def _kind_of(structure: Any) -> str:
    if isinstance(structure, dict):
        return "object"
    if isinstance(structure, list):
        return "list"
    return "number" if structure in ("BIGINT", "DOUBLE") else str(structure)


def converter(kind: pa.DataType, pointer: str, *, exact: bool) -> Convert:
    """A function of a JSON value that gives it as a column of this type wants it.

    It raises BadValue (``files.bad_type``). A text column takes everything, as its JSON; a float column takes numbers
    written as text too. ``exact``: an object may hold no key that the type lacks.
    """
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return _object_converter(kind, pointer, exact)
    if pa.types.is_list(kind):
        return _list_converter(converter(kind.value_type, f"{pointer}[]", exact=exact), pointer)
    if pa.types.is_string(kind):
        return _text
    if pa.types.is_floating(kind):
        return partial(_number, pointer)
    if pa.types.is_boolean(kind):
        return partial(_truth, pointer)
    if pa.types.is_integer(kind):
        return _integer_converter(kind, pointer)
    if pa.types.is_binary(kind):
        return partial(_bytes, pointer)
    return partial(_cast, pointer, kind)


def _object_converter(kind: pa.StructType, pointer: str, exact: bool) -> Convert:
    parts = {field.name: converter(field.type, f"{pointer}.{field.name}", exact=exact) for field in kind}

    def convert(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise bad(value, "an object", pointer)
        if exact and not parts.keys() >= value.keys():
            raise bad(value, f"only the keys {', '.join(parts)}", pointer)
        return {name: part(value.get(name)) for name, part in parts.items()}

    return convert


def _list_converter(item: Convert, pointer: str) -> Convert:
    def convert(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            raise bad(value, "a list", pointer)
        return [item(part) for part in value]

    return convert


def _integer_converter(kind: pa.DataType, pointer: str) -> Convert:
    import pyarrow as pa

    signed = pa.types.is_signed_integer(kind)
    low = -(1 << (kind.bit_width - 1)) if signed else 0
    high = (1 << (kind.bit_width - signed)) - 1

    def convert(value: Any) -> Any:
        if value is None or (type(value) is int and low <= value <= high):
            return value
        raise bad(value, f"a whole number from {low} to {high}", pointer)

    return convert


def _text(value: Any) -> Any:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise BadValue("files.bad_json", "an escaped half of a surrogate pair is no character")
        return value
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _number(pointer: str, value: Any) -> Any:
    try:
        return None if value is None else float(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise bad(value, "a number", pointer) from error


def _truth(pointer: str, value: Any) -> Any:
    if value is None or value in (True, False):
        return value if value is None else bool(value)
    raise bad(value, "true or false", pointer)


def _bytes(pointer: str, value: Any) -> Any:
    try:
        return None if value is None else base64.b64decode(value, validate=True)
    except (ValueError, TypeError) as error:
        raise bad(value, "bytes in base64", pointer) from error


def _cast(pointer: str, kind: pa.DataType, value: Any) -> Any:
    import pyarrow as pa

    if value is None:
        return None
    try:
        return pa.scalar(value if isinstance(value, str) else json.dumps(value)).cast(kind).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise bad(value, f"a value of type {kind}", pointer) from error


def bad(value: Any, wanted: str, pointer: str) -> BadValue:
    """The error for a value that is not what its column wants."""
    shown = json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 80 else shown[:80] + "…"
    return BadValue("files.bad_type", f"`{pointer}` holds {shown}, expected {wanted}")
