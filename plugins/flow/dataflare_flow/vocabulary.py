"""The words of a flow file: what stands in which section, its normal form, its JSON Schema for editors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataflare.declare import did_you_mean
from dataflare.grants import mistakes
from dataflare_flow.document import child
from dataflare_flow.words import (
    CONFIG,
    DURATION,
    LABELS,
    SIZE,
    TEXT,
    Reading,
    Word,
    Words,
    labels,
    mapping,
    object_schema,
    one_of,
    table,
    text,
    whole,
    wrong,
)
from dataflare_host.read_manifest import PERMISSIONS

LEVELS = ("exactly_once", "effectively_once", "at_least_once", "at_most_once", "best_effort")
"""The guarantees, strongest first."""
RULES = ("evolve", "freeze", "discard_row", "discard_value", "dead_letter")
"""What happens to rows of a new schema that a later step refuses."""
ON_ERROR = {"policy": "fail", "attempts": 5, "delay": 0.2, "factor": 2.0, "cap": 30.0, "then": "fail"}
"""What happens to an error when a step does not say: the normal form of ``on_error``."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_FLOW_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")

# --- words with a shape of their own -------------------------------------------------------------------


def component(reading: Reading, value: Any, pointer: str) -> dict[str, Any] | None:
    """``plugin/name``, or ``{uses, with}``."""
    if isinstance(value, str):
        return {"uses": value} if text(reading, value, pointer) else None
    given = COMPONENT_TABLE.read(reading, value, pointer)
    if given is not None and "uses" not in given:
        reading.note(pointer, "flow.missing_key", "`uses` is missing", "write `uses: plugin/component`")
        return None
    return given


COMPONENT_TABLE = table({"uses": TEXT, "with": CONFIG}, "a component")
COMPONENT = Word(component, {"anyOf": [{"type": "string"}, object_schema({"uses": TEXT, "with": CONFIG}, ("uses",))]})


def layers(reading: Reading, value: Any, pointer: str) -> list[dict[str, Any]] | None:
    """A list of components; the first one is applied first to what is written."""
    if not isinstance(value, (list, tuple)):
        wrong(reading, pointer, "a list of layers", value)
        return None
    read = [component(reading, item, child(pointer, index)) for index, item in enumerate(value)]
    return [item for item in read if item is not None]


_STORE = {"uses": TEXT, "with": CONFIG, "layers": Word(layers, {"type": "array", "items": COMPONENT.schema})}
_STORE_TABLE = table(_STORE, "a store")


def store(reading: Reading, value: Any, pointer: str) -> dict[str, Any] | None:
    """``plugin/name``, or ``{uses, with, layers}``; without ``uses`` the default store is meant."""
    return component(reading, value, pointer) if isinstance(value, str) else _STORE_TABLE.read(reading, value, pointer)


STORE = Word(store, {"anyOf": [{"type": "string"}, object_schema(_STORE, ())]})

Inputs = tuple[tuple[str, str], ...]


def inputs(reading: Reading, value: Any, pointer: str) -> Inputs | None:
    """``from``: a step, ``step.output``, a list of these, or named inputs → (input, reference) in order."""
    if isinstance(value, Mapping) and value:
        named = [
            pair for key, item in value.items() for pair in _references(reading, item, child(pointer, key), str(key))
        ]
        return _once(reading, named, pointer)
    return _once(reading, _references(reading, value, pointer, ""), pointer)


def _references(reading: Reading, value: Any, pointer: str, name: str) -> list[tuple[str, str]]:
    if isinstance(value, str) and value:
        return [(name, value)]
    if isinstance(value, (list, tuple)) and value:
        return [
            pair
            for index, item in enumerate(value)
            for pair in ([(name, item)] if text(reading, item, child(pointer, index)) else [])
        ]
    wrong(reading, pointer, "a step, `step.output` or a list of these", value)
    return []


def _once(reading: Reading, pairs: list[tuple[str, str]], pointer: str) -> Inputs | None:
    for pair in {pair for pair in pairs if pairs.count(pair) > 1}:
        reading.note(pointer, "flow.from_twice", f"`{pair[1]}` is named twice in `from`", "name it once")
    return tuple(dict.fromkeys(pairs)) or None


_REFERENCE_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
FROM = Word(inputs, {"anyOf": [_REFERENCE_SCHEMA, {"type": "object", "additionalProperties": _REFERENCE_SCHEMA}]})


def _number(reading: Reading, value: Any, pointer: str) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1:
        return float(value)
    wrong(reading, pointer, "a number from 1 on", value)
    return None


_ENDS = ("fail", "drop", "dead_letter")
_POLICIES = ("fail", "drop", "retry", "dead_letter")
_RETRY = {
    "attempts": whole(1),
    "delay": DURATION,
    "factor": Word(_number, {"type": "number", "minimum": 1}),
    "cap": DURATION,
}
_ON_ERROR = {"policy": one_of(_POLICIES), "retry": table(_RETRY, "`retry`"), **_RETRY, "then": one_of(_ENDS)}


def on_error(reading: Reading, value: Any, pointer: str) -> dict[str, Any] | None:
    """A policy, or ``{retry: {attempts, delay, factor, cap}, then}`` → all keys of ``ON_ERROR``."""
    if isinstance(value, str):
        policy = one_of(_POLICIES).read(reading, value, pointer)
        return None if policy is None else _whole_policy({"policy": policy})
    given = table(_ON_ERROR, "`on_error`").read(reading, value, pointer)
    if given is None:
        return None
    given.update(given.pop("retry", {"policy": given.get("policy", "retry")}))
    return _whole_policy(given)


def _whole_policy(given: dict[str, Any]) -> dict[str, Any]:
    policy = given.get("policy", "retry")
    return {**ON_ERROR, "policy": policy, "then": "fail" if policy == "retry" else policy, **given}


ON_ERROR_WORD = Word(
    on_error,
    {
        "anyOf": [
            {"enum": list(_POLICIES)},
            object_schema({"retry": table(_RETRY, "`retry`"), "then": one_of(_ENDS)}),
        ]
    },
)


def _share(reading: Reading, value: Any, pointer: str) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    wrong(reading, pointer, "a share from 0 to 1", value)
    return None


_WINDOW = table({"rows": whole(1), "time": DURATION}, "`window`")


def window(reading: Reading, value: Any, pointer: str) -> dict[str, Any] | None:
    """A number of rows, or a duration → ``{rows}`` or ``{time}``."""
    if isinstance(value, Mapping):
        given: dict[str, Any] | None = _WINDOW.read(reading, value, pointer)
        return given
    if isinstance(value, str) and not value.isdigit():
        seconds = DURATION.read(reading, value, pointer)
        return None if seconds is None else {"time": seconds}
    rows = whole(1).read(reading, value, pointer)
    return None if rows is None else {"rows": rows}


_REJECTS = {
    "count": whole(0),
    "ratio": Word(_share, {"type": "number", "minimum": 0, "maximum": 1}),
    "window": Word(window, {"anyOf": [whole(1).schema, DURATION.schema, _WINDOW.schema]}),
}
_REJECTS_TABLE = table(_REJECTS, "`max_rejects`")


def max_rejects(reading: Reading, value: Any, pointer: str) -> int | dict[str, Any] | None:
    """A number of rows, or ``{count, ratio, window}``."""
    if not isinstance(value, Mapping):
        rows: int | None = whole(0).read(reading, value, pointer)
        return rows
    given: dict[str, Any] | None = _REJECTS_TABLE.read(reading, value, pointer)
    if given is not None and not {"count", "ratio"} & set(value):
        reading.note(pointer, "flow.missing_key", "neither `count` nor `ratio` is there", "say how many may be refused")
        return None
    return given


MAX_REJECTS = Word(max_rejects, {"anyOf": [whole(0).schema, object_schema(_REJECTS, ())]})


def grants(reading: Reading, value: Any, pointer: str) -> dict[str, Any] | None:
    """Permission words with rules: what this step may do, and what a manifest cannot say of it."""
    given = mapping(reading, value, pointer)
    if given is None:
        return None
    for word, rules in given.items():
        if word not in PERMISSIONS:
            fix = did_you_mean(word, PERMISSIONS, f"known here: {', '.join(PERMISSIONS)}")
            reading.note(child(pointer, word), "flow.unknown_key", f"`{word}` is no permission", fix, key=True)
        for place, message in mistakes(rules):
            fix = "write for example `http: [{host: api.example, methods: [GET]}]`"
            reading.note(f"{child(pointer, word)}{place}", "flow.type", f"`{word}`: {message}", fix)
    return given


_RULES = {"type": "array", "items": {"type": "object"}}
_GRANTS: dict[str, Any] = {"type": "object", "additionalProperties": False}
GRANTS = Word(grants, {**_GRANTS, "properties": dict.fromkeys(PERMISSIONS, _RULES)})

TIME = table({"column": TEXT, "lateness": DURATION}, "`time`")
CHECKPOINT = table({"interval": DURATION, "rows": whole(1), "bytes": SIZE}, "`checkpoint`")
LEVEL, RULE = one_of(LEVELS), one_of(RULES)

COMMON: Words = {
    "uses": TEXT,
    "with": CONFIG,
    "lanes": whole(1),
    "place": LABELS,
    "on_error": ON_ERROR_WORD,
    "max_rejects": MAX_REJECTS,
    "grants": GRANTS,
}
STEP_WORDS: Mapping[str, Words] = {
    "source": {**COMMON, "every": DURATION, "time": TIME, "on_schema_change": RULE},
    "processor": {**COMMON, "from": FROM},
    "sink": {**COMMON, "from": FROM, "guarantee": LEVEL, "deliver": one_of(("on_commit",))},
}
SECTIONS = {"sources": "source", "steps": "processor", "sinks": "sink"}


def version(reading: Reading, value: Any, pointer: str) -> int | None:
    """The version of the flow format: 1."""
    if value != 1 or isinstance(value, bool):
        fix = "write `version: 1`, or install a newer host"
        reading.note(pointer, "flow.version", f"version {value!r} of the flow format is not known here", fix)
    return 1


def flow_name(reading: Reading, value: Any, pointer: str) -> str | None:
    """A name that can stand in file names."""
    if isinstance(value, str) and _FLOW_NAME.match(value):
        return value
    message = f"`{value}` cannot be the name of a flow"
    reading.note(pointer, "flow.name", message, "use letters, digits, `-`, `_` and `.`, at most 100, no `.` in front")
    return None


def is_step_name(name: str) -> bool:
    """Can this be a step's name? (No dots: they name outputs.)"""
    return bool(_NAME.match(name))


FLOW_WORDS: Words = {
    "version": Word(version, {"const": 1}),
    "name": Word(flow_name, {"type": "string", "pattern": _FLOW_NAME.pattern.replace("\\Z", "$")}),
    "mode": COMPONENT,
    "engine": COMPONENT,
    "plugins": Word(labels, {"type": "object", "additionalProperties": {"type": "string"}}),
    "sources": CONFIG,
    "steps": CONFIG,
    "sinks": CONFIG,
    "state": STORE,
    "checkpoint": CHECKPOINT,
    "guarantee": LEVEL,
    "time": TIME,
    "max_rejects": MAX_REJECTS,
    "drain_timeout": DURATION,
    "keep": whole(1),
    "on_schema_change": RULE,
}


def flow_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a flow file, for editors."""
    schema = object_schema(FLOW_WORDS, ("version", "sources", "sinks"))
    for section, kind in SECTIONS.items():
        required = ("uses",) if kind == "source" else ("uses", "from")
        entry = object_schema(STEP_WORDS[kind], required)
        schema["properties"][section] = {
            "type": "object",
            "propertyNames": {"pattern": _NAME.pattern.replace("\\Z", "$")},
            "additionalProperties": entry,
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A DataFlare flow", **schema}
