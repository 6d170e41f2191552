"""Arrow types by their names (``list<item: int64>``), for peers that have no Arrow: what ``str(type)`` gives."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

_PARAMETERS = re.compile(r"^(?P<name>[a-z_0-9]+)\[(?P<unit>[a-z]+)(?:, ?tz=(?P<zone>[^\]]+))?\]$")
_NUMBERS = re.compile(
    r"^(?P<name>decimal128|decimal256|fixed_size_binary)[(\[](?P<first>\d+)(?:, ?(?P<second>-?\d+))?[)\]]$"
)
_ALIASES = {
    "bool": "bool_",
    "float": "float32",
    "double": "float64",
    "halffloat": "float16",
    "date32[day]": "date32",
    "date64[ms]": "date64",
    "utf8": "string",
    "large_utf8": "large_string",
}
_PLAIN = frozenset(
    "null bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 string large_string binary "
    "large_binary string_view binary_view date32 date64".split()
)


def type_named(name: str) -> pa.DataType:
    """The Arrow type of a name. Raises ConfigError ``schema.type_name``."""
    try:
        return _type(name.strip())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError.of(
            "schema.type_name",
            f"`{name[:80]}` is not the name of an Arrow type",
            fix="write int64, double, string, bool, timestamp[us, tz=UTC], list<item: int64>, struct<a: int64>, …",
        ) from error


def _type(name: str) -> Any:
    import pyarrow as pa

    plain = _ALIASES.get(name, name)
    if plain in _PLAIN:
        return getattr(pa, plain)()
    if found := _PARAMETERS.match(name):
        make = getattr(
            pa,
            {"timestamp": "timestamp", "duration": "duration", "time32": "time32", "time64": "time64"}[found["name"]],
        )
        return make(found["unit"], found["zone"]) if found["zone"] else make(found["unit"])
    if found := _NUMBERS.match(name):
        if found["name"] == "fixed_size_binary":
            return pa.binary(int(found["first"]))
        return getattr(pa, found["name"])(int(found["first"]), int(found["second"] or 0))
    head, _, rest = name.partition("<")
    if not rest.endswith(">"):
        fixed = re.fullmatch(r"(fixed_size_list<.*>)\[(\d+)\]", name)
        if fixed:
            return pa.list_(_field(fixed[1].partition("<")[2][:-1]), int(fixed[2]))
        raise ValueError(name)
    parts = _split(rest[:-1])
    if head in ("list", "large_list"):
        make = pa.list_ if head == "list" else pa.large_list
        return make(_field(parts[0]))
    if head == "struct":
        return pa.struct([_field(part) for part in parts if part])
    if head == "map":
        return pa.map_(_type(parts[0]), _type(parts[1]))
    if head == "dictionary":
        words = dict(part.split("=", 1) for part in parts)
        return pa.dictionary(_type(words["indices"]), _type(words["values"]))
    raise ValueError(name)


def _field(text: str) -> pa.Field:
    """``name: type`` or ``name: type not null``."""
    import pyarrow as pa

    name, colon, kind = text.strip().partition(": ")
    if not colon:
        name, kind = "item", name
    nullable = not kind.endswith(" not null")
    return pa.field(name, _type(kind.removesuffix(" not null").strip()), nullable)


def _split(text: str) -> list[str]:
    """Cut at the commas that stand in no brackets."""
    parts, depth, begin = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in "<[(") - (character in ">])")
        if character == "," and depth == 0:
            parts.append(text[begin:at].strip())
            begin = at + 1
    return [*parts, text[begin:].strip()]
