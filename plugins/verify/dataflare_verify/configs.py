"""Configurations that a JSON Schema refuses, made by spoiling one that it accepts: one field at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = Any
_OTHERS: Mapping[str, tuple[Json, ...]] = {
    "integer": ("no number", [1], {"no": "number"}),
    "number": ("no number", [1], {"no": "number"}),
    "string": ({"no": "text"}, [[1]]),
    "boolean": ("neither", [True]),
    "array": (7, {"no": "list"}),
    "object": (7, [1]),
    "null": ({"not": "null"},),
}
"""Type → values that are not of it, and that nothing reasonable would take for one."""


def refused(schema: Mapping[str, Json], good: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """Why it is wrong, and the configuration; only those that the schema does refuse."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(dict(schema))
    for reason, config in _spoiled(schema, good):
        if not validator.is_valid(config):
            yield reason, config


def accepted(schema: Mapping[str, Json], good: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """What it is, and a configuration: the good one, the least of it, and with each default written out."""
    properties, required = schema.get("properties") or {}, schema.get("required") or ()
    yield "the example", dict(good)
    yield "without what is optional", {name: value for name, value in good.items() if name in required}
    for name, told in properties.items():
        if isinstance(told, Mapping) and "default" in told and name not in good:
            yield f"with the default of `{name}`", {**good, name: told["default"]}


def guess(schema: Mapping[str, Json]) -> dict[str, Json]:
    """A configuration with what is required, by its types and names; a path is one of a fresh folder."""
    properties = schema.get("properties") or {}
    return {name: _value(name, properties.get(name) or {}) for name in schema.get("required") or ()}


def _spoiled(schema: Mapping[str, Json], good: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    for name in schema.get("required") or ():
        yield f"`{name}` is missing", {key: value for key, value in good.items() if key != name}
    yield "it has a field that is not known", {**good, "x_unknown_field": 1}
    for name, told in (schema.get("properties") or {}).items():
        if isinstance(told, Mapping):
            for value in _wrong(told):
                yield f"`{name}` is {value!r}", {**good, name: value}


def _wrong(told: Mapping[str, Json]) -> Iterator[Json]:
    kind = told.get("type")
    if isinstance(kind, str):
        yield from _OTHERS.get(kind, ())
    elif "anyOf" in told:
        yield {"x_unknown_field": [None]}
    if "enum" in told or "const" in told:
        yield "x-none-of-these"
    for bound, step in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
        if isinstance(told.get(bound), (int, float)):
            yield told[bound] + step
    if told.get("minLength"):
        yield "x" * (told["minLength"] - 1)
    if "maxLength" in told:
        yield "x" * (told["maxLength"] + 1)
    if "pattern" in told:
        yield "\x00"
    items = told.get("items")
    if kind == "array" and isinstance(items, Mapping):
        for value in _wrong(items):
            yield [value]


def _value(name: str, told: Mapping[str, Json]) -> Json:
    if "default" in told:
        return told["default"]
    if "enum" in told:
        return told["enum"][0]
    if "const" in told:
        return told["const"]
    if several := told.get("anyOf") or told.get("oneOf"):
        return _value(name, several[0])
    kind = told.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "integer":
        return max(1, told.get("minimum", 1), told.get("exclusiveMinimum", 0) + 1)
    if kind == "number":
        return float(max(1, told.get("minimum", 1), told.get("exclusiveMinimum", 0) + 1))
    if kind in ("boolean", "null"):
        return False if kind == "boolean" else None
    if kind == "array":
        return [_value(name, told.get("items") or {})]
    if kind == "object":
        return guess(told)
    looks = told.get("format") in ("path", "file-path", "directory-path")
    looks = looks or any(word in name for word in ("path", "file", "folder"))
    return f"{{folder}}/{name}" if looks else name
