"""What changed between two JSON Schemas of a configuration: which files of flows go on being right?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

Json = Any
Weight = Literal["major", "minor", "patch"]
"""The least part of a version number that must rise."""
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "multipleOf", "const")
_MERGED = ("anyOf", "oneOf", "allOf")


class Change(NamedTuple):
    """One change: where (a pointer into the configuration), what, and what it weighs."""

    pointer: str
    words: str
    weight: Weight


def changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[Change]:
    """All changes from one schema to another. What takes a value away that was right is ``major``."""
    return list(_object(_Sides(old, new), "", old, new))


class _Sides(NamedTuple):
    old: Mapping[str, Json]
    new: Mapping[str, Json]

    def resolved(self, old: Json, new: Json) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
        return _followed(self.old, old), _followed(self.new, new)


def _followed(root: Mapping[str, Json], schema: Json) -> Mapping[str, Json]:
    """A schema, or what its ``$ref`` names in the same document."""
    if schema is True or schema is None:
        return {}
    if schema is False:
        return {"not": {}}
    reference = schema.get("$ref", "")
    if not reference.startswith("#/"):
        return dict(schema)
    found: Json = root
    for part in reference[2:].split("/"):
        found = found.get(part, {})
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}


def _object(sides: _Sides, pointer: str, old: Json, new: Json) -> Iterator[Change]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed, needed_now = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted({*before, *after}):
        at = f"{pointer}/{name}"
        if name not in after:
            yield Change(at, "is gone", "major")
        elif name not in before:
            must = name in needed_now
            yield Change(at, "is new and must be given" if must else "is new", "major" if must else "minor")
        else:
            if name in needed_now - needed:
                yield Change(at, "must be given now", "major")
            elif name in needed - needed_now:
                yield Change(at, "need not be given any more", "minor")
            yield from _value(sides, at, *sides.resolved(before[name], after[name]))
    if _open(old) and not _open(new):
        yield Change(pointer or "/", "takes no other keys any more", "major")
    elif not _open(old) and _open(new):
        yield Change(pointer or "/", "takes other keys now", "minor")


def _open(schema: Mapping[str, Json]) -> bool:
    return schema.get("additionalProperties", True) is not False


def _value(sides: _Sides, pointer: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    old, new = _or_null(sides.old, old), _or_null(sides.new, new)
    yield from _types(pointer, old, new)
    yield from _choices(pointer, old, new)
    for bounds, narrower in ((_LEAST, 1), (_MOST, -1)):
        for word in bounds:
            yield from _bound(pointer, word, old.get(word), new.get(word), narrower)
    for word in _EXACT:
        before, after = old.get(word), new.get(word)
        if _compared(before) != _compared(after):
            yield Change(
                pointer, f"{word} is {_told(after)}, was {_told(before)}", "minor" if after is None else "major"
            )
    if _compared(old.get("default")) != _compared(new.get("default")):
        yield Change(pointer, f"the default is {_told(new.get('default'))}, was {_told(old.get('default'))}", "minor")
    if "properties" in old or "properties" in new:
        yield from _object(sides, pointer, old, new)
    if "items" in old or "items" in new:
        yield from _value(sides, f"{pointer}/*", *sides.resolved(old.get("items"), new.get("items")))
    if isinstance(old.get("additionalProperties"), Mapping) and isinstance(new.get("additionalProperties"), Mapping):
        inner = sides.resolved(old["additionalProperties"], new["additionalProperties"])
        yield from _value(sides, f"{pointer}/*", *inner)


def _or_null(root: Mapping[str, Json], schema: Mapping[str, Json]) -> Mapping[str, Json]:
    """What is one thing or null, as that thing with both types; all else as it is."""
    for word in ("anyOf", "oneOf"):
        parts = [_followed(root, part) for part in schema.get(word, ())]
        others = [part for part in parts if part.get("type") != "null"]
        if len(others) == 1 and len(parts) > 1 and not others[0].keys() & {"const", "enum"}:
            rest = {key: value for key, value in schema.items() if key != word}
            return {**others[0], **rest, "type": sorted({*_kinds(others[0]), "null"})}
    return schema


def _types(pointer: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    before, after = _kinds(old), _kinds(new)
    lost = before - after if after else set()
    if after and (not before or any(not (kind == "integer" and "number" in after) for kind in lost)):
        if before != after:
            yield Change(pointer, f"takes {_listed(after)}, took {_listed(before)}", "major")
    elif before != after:
        yield Change(pointer, f"takes {_listed(after)}, took {_listed(before)}", "minor")


def _kinds(schema: Mapping[str, Json]) -> set[str]:
    """The types that a schema takes; none: any."""
    given = schema.get("type")
    found = {given} if isinstance(given, str) else set(given or ())
    for word in _MERGED:
        for part in schema.get(word, ()):
            found |= _kinds(part) or ({part["$ref"]} if "$ref" in part else set())
    return found


def _choices(pointer: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    before, after = _constants(old), _constants(new)
    if before == after:
        return
    if after is not None and (before is None or not before.keys() <= after.keys()):
        gone = "" if before is None else ": " + ", ".join(_told(before[key]) for key in before if key not in after)
        yield Change(pointer, f"takes fewer values{gone}", "major")
    else:
        yield Change(pointer, "takes more values", "minor")


def _constants(schema: Mapping[str, Json]) -> dict[str, Json] | None:
    """The values that a schema lists, by what they are compared by; None where it lists none."""
    if "enum" in schema:
        return {_compared(value): value for value in schema["enum"]}
    for word in ("anyOf", "oneOf"):
        parts = schema.get(word, ())
        if parts and all("const" in part for part in parts):
            return {_compared(part["const"]): part["const"] for part in parts}
    return None


def _compared(value: Json) -> str:
    """What is the same for values that are the same in JSON: 1 and 1.0, but not 1 and true."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _bound(pointer: str, word: str, old: Json, new: Json, narrower: int) -> Iterator[Change]:
    if old == new:
        return
    tightens = new is not None and (old is None or (new - old) * narrower > 0)
    yield Change(pointer, f"{word} is {_told(new)}, was {_told(old)}", "major" if tightens else "minor")


def _listed(kinds: set[str]) -> str:
    return " or ".join(sorted(kinds)) or "anything"


def _told(value: Json) -> str:
    return "none" if value is None else repr(value)
