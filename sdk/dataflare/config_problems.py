"""What pydantic says of wrong input, as problems for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflare.config_types import Hidden
from dataflare.declare import nearest
from dataflare.errors import Problem

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "dataclass": "a mapping",
    "path": "a path",
    "date": "a date such as 2026-01-31",
    "datetime": "a time such as 2026-01-31T12:00:00Z",
    "time": "a time of day such as 12:30:00",
    "time_delta": "a duration such as PT1H",
    "timezone": "a time zone",
    "decimal": "a number",
    "uuid": "a UUID",
    "url": "a URL",
    "bytes": "a text",
    "none": "null",
    "enum": "one of the allowed values",
}
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_BOUNDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "string_pattern_mismatch": "of the form {pattern}",
    "too_short": "at least {min_length} items long",
    "too_long": "at most {max_length} items long",
}


def problems_of(error: ValidationError, given: Mapping[str, Any], model: type[BaseModel]) -> list[Problem]:
    """One problem a wrong place; alternatives of a union are told in one sentence."""
    found: dict[str, list[Problem]] = {}
    for item in error.errors(include_url=False):
        place = _place(item["loc"], given, item["type"])
        problem = _problem(item, place, given, model)
        found.setdefault(problem.pointer or "", []).append(problem)
    return [_merged(problems) for problems in found.values()]


def _place(loc: Sequence[Any], given: Any, kind: str) -> list[str | int]:
    """The part of pydantic's place that is in the input: without the names of union members."""
    place: list[str | int] = []
    value = given
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if _holds(value, part):
            value = value[part]
        elif index and not (last and kind in _MISSING):
            continue
        place.append(part)
    return place


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, (list, tuple)) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _problem(item: Any, place: list[str | int], given: Mapping[str, Any], model: type[BaseModel]) -> Problem:
    kind: str = item["type"]
    name = f"`{place[-1]}`" if isinstance(place[-1], str) else f"item {place[-1]} of `{_owner(place)}`"
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)
    if kind in _MISSING:
        return Problem("config.missing", f"{name} is missing", pointer=pointer, fix=f"add {name}")
    if kind in _UNKNOWN:
        return _unknown(name, pointer, str(place[-1]), _siblings(model, place))
    if kind == "union_tag_not_found":
        fix = "add `type`, which says what it is"
        return Problem("config.missing", f"`type` of {name} is missing", pointer=pointer, fix=fix)
    context = item.get("ctx") or {}
    if kind == "union_tag_invalid":
        tag = str(context["tag"])
        return _choice(f"`type` of {name}", f"`{tag}`", tag, context["expected_tags"], f"{pointer}/type")
    value = item.get("input")
    shown = _shown(value)
    if kind in ("literal_error", "enum"):
        return _choice(name, shown, str(value), context["expected"], pointer)
    cause = f"it is {shown}"
    if kind in _BOUNDS:
        wanted = _BOUNDS[kind].format(**context)
        fix = f"give a value that is {wanted}"
        return Problem("config.bound", f"{name} must be {wanted}", pointer=pointer, cause=cause, fix=fix)
    if kind in ("value_error", "assertion_error"):
        error = context.get("error")
        said = str(error or item["msg"])
        wanted = said.removeprefix("expected ").partition(", not ")[0] if said.startswith("expected ") else ""
        fix = f"give {wanted}" if wanted else "change the value"
        seen = None if isinstance(error, Hidden) else cause
        return Problem("config.value", f"{name}: {said}", pointer=pointer, cause=seen, fix=fix)
    return _wrong_type(name, item, pointer, cause)


def _unknown(name: str, pointer: str, written: str, known: list[str]) -> Problem:
    guess = nearest(written, known)
    return Problem(
        "config.unknown_field",
        f"there is no field {name}",
        pointer=pointer,
        cause=f"known fields are {', '.join(f'`{other}`' for other in known)}" if known else None,
        fix=f"write `{guess}`" if guess else f"remove {name}",
    )


def _wrong_type(name: str, item: Any, pointer: str, cause: str) -> Problem:
    stem: str = item["type"]
    while stem and stem not in _EXPECTED:
        stem = stem.rpartition("_")[0]
    expected = _EXPECTED.get(stem)
    if expected is None:
        said = f"{name}: {item['msg'][:1].lower()}{item['msg'][1:]}"
        return Problem("config.value", said, pointer=pointer, cause=cause, fix="change the value")
    value = item.get("input")
    quoted = stem == "string" and isinstance(value, (int, float))
    return Problem(
        "config.type",
        f"{name} must be {expected}",
        pointer=pointer,
        cause=cause,
        fix="put it into quotes" if quoted else f"write {expected}",
        details={"expected": expected},
    )


def _choice(name: str, shown: str, written: str, expected: str, pointer: str) -> Problem:
    known = [word.strip(" '`") for word in expected.replace(" or ", ", ").split(",")]
    listed = ", ".join(f"`{word}`" for word in known)
    guess = nearest(written, known)
    fix = f"write `{guess}`" if guess else f"write one of {listed}"
    return Problem(
        "config.choice", f"{name} cannot be {shown}", pointer=pointer, cause=f"it is one of {listed}", fix=fix
    )


def _merged(problems: list[Problem]) -> Problem:
    """One problem for all that is said of a place: only a union's members say several things."""
    first = problems[0].at(details={})
    words = list(dict.fromkeys(str(each.details["expected"]) for each in problems if "expected" in each.details))
    other = [each for each in problems if "expected" not in each.details]
    if other and len(problems) > 1:
        return other[0]
    if len(words) < 2:
        return first
    either = " or ".join(words)
    return first.at(message=first.message.replace(words[0], either), fix=f"write {either}")


def _siblings(model: type[BaseModel], place: list[str | int]) -> list[str]:
    """The fields that are known beside the one at ``place``."""
    whole = model.model_json_schema()
    spots = [whole]
    for part in place[:-1]:
        spots = [inner for spot in spots for inner in _inside(spot, part, whole)]
    return list(dict.fromkeys(name for spot in spots for name in spot.get("properties", {})))


def _inside(spot: dict[str, Any], part: str | int, whole: dict[str, Any]) -> list[dict[str, Any]]:
    inner = (
        spot.get("items")
        if isinstance(part, int)
        else spot.get("properties", {}).get(part, spot.get("additionalProperties"))
    )
    return _resolved(inner, whole) if isinstance(inner, dict) else []


def _resolved(spot: dict[str, Any], whole: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in spot:
        spot = whole["$defs"][spot["$ref"].rpartition("/")[2]]
    members = spot.get("anyOf") or spot.get("oneOf")
    return [found for member in members for found in _resolved(member, whole)] if members else [spot]


def _owner(place: Sequence[str | int]) -> str:
    return str(next((part for part in reversed(place) if isinstance(part, str)), ""))


def _shown(value: Any) -> str:
    """The value for a message; nothing that could be a secret is shown whole."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple, set)):
        return "a list"
    text = repr(value) if isinstance(value, (str, int, float)) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
