"""What pydantic says of wrong input, as problems for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
        if isinstance(part, str) and isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(part, int) and isinstance(value, (list, tuple)) and part < len(value):
            value = value[part]
        elif index and not (last and kind in ("missing", "missing_argument")):
            continue
        place.append(part)
    return place


def _problem(item: Any, place: list[str | int], given: Mapping[str, Any], model: type[BaseModel]) -> Problem:
    kind: str = item["type"]
    name = f"`{place[-1]}`" if isinstance(place[-1], str) else f"item {place[-1]} of `{_owner(place)}`"
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)
    shown = _shown(item.get("input"))
    context = item.get("ctx") or {}
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return Problem("config.missing", f"{name} is missing", pointer=pointer, fix=f"add {name}")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _siblings(model, place)
        guess = nearest(str(place[-1]), known)
        cause = f"known fields are {', '.join(f'`{other}`' for other in known)}" if known else None
        fix = f"write `{guess}`" if guess else f"remove {name}"
        return Problem("config.unknown_field", f"there is no field {name}", pointer=pointer, cause=cause, fix=fix)
    if kind in _BOUNDS:
        wanted = _BOUNDS[kind].format(**context)
        return Problem("config.bound", f"{name} must be {wanted}", pointer=pointer, cause=f"it is {shown}", fix=f"give a value that is {wanted}")
    if kind in ("literal_error", "enum"):
        return _choice(name, item, pointer, shown)
    if kind == "union_tag_invalid":
        tags = context["expected_tags"].replace("'", "`")
        guess = nearest(str(context["tag"]), [tag.strip(" `") for tag in tags.split(",")])
        fix = f"write `type: {guess}`" if guess else f"write one of {tags}"
        return Problem("config.choice", f"the `type` of {name} cannot be `{context['tag']}`", pointer=pointer + "/type", cause=f"it is one of {tags}", fix=fix)
    if kind == "union_tag_not_found":
        return Problem("config.missing", f"`type` of {name} is missing", pointer=pointer, fix="add `type`, which says what it is")
    if kind in ("value_error", "assertion_error"):
        said = str(context.get("error") or item["msg"])
        return Problem("config.value", f"{name}: {said}", pointer=pointer, cause=f"it is {shown}", fix=said[:1].upper() + said[1:] if said.startswith("expected") else None)
    return _wrong_type(name, item, pointer, shown)


def _wrong_type(name: str, item: Any, pointer: str, shown: str) -> Problem:
    kind: str = item["type"]
    stem = kind
    while stem and stem not in _EXPECTED:
        stem = stem.rpartition("_")[0]
    expected = _EXPECTED.get(stem)
    if expected is None:
        return Problem("config.value", f"{name}: {item['msg'][:1].lower()}{item['msg'][1:]}", pointer=pointer, cause=f"it is {shown}")
    fix = f"write {expected}"
    if stem == "string" and isinstance(item.get("input"), (int, float, bool)):
        fix = f"put it into quotes: {str(item['input'])!r}" if not isinstance(item["input"], bool) else "put it into quotes"
    return Problem("config.type", f"{name} must be {expected}", pointer=pointer, cause=f"it is {shown}", fix=fix, details={"expected": expected})


def _choice(name: str, item: Any, pointer: str, shown: str) -> Problem:
    listed = item["ctx"]["expected"].replace("'", "`")
    known = [word.strip(" `") for word in listed.replace(" or ", ", ").split(",")]
    guess = nearest(str(item.get("input")), known)
    fix = f"write `{guess}`" if guess else f"write {listed}"
    return Problem("config.choice", f"{name} cannot be {shown}", pointer=pointer, cause=f"it is {listed}", fix=fix)


def _merged(problems: list[Problem]) -> Problem:
    first = problems[0]
    expected = [str(problem.details["expected"]) for problem in problems if "expected" in problem.details]
    plain = first.at(details={})
    if len(problems) == 1 or len(expected) < 2:
        chosen = next((problem for problem in problems if "expected" not in problem.details), first)
        return chosen.at(details={}) if len(problems) > 1 else plain
    words = " or ".join(dict.fromkeys(expected))
    return plain.at(message=first.message.replace(expected[0], words), fix=f"write {words}")


def _siblings(model: type[BaseModel], place: list[str | int]) -> list[str]:
    """The fields that are known beside the one at ``place``."""
    whole = model.model_json_schema()
    spots = [whole]
    for part in place[:-1]:
        spots = [inner for spot in spots for inner in _inside(spot, part, whole)]
    return list(dict.fromkeys(name for spot in spots for name in spot.get("properties", {})))


def _inside(spot: dict[str, Any], part: str | int, whole: dict[str, Any]) -> list[dict[str, Any]]:
    inner = spot.get("items") if isinstance(part, int) else spot.get("properties", {}).get(part, spot.get("additionalProperties"))
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
