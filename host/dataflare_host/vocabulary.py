"""The words of a flow file: how each is read into its normal form, and what an editor is told of it.

A reader gets the value and its JSON pointer, notes what is wrong with it and answers None, which everywhere
means "not given"; so one reading finds every mistake.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import PurePath
from typing import Any, TypeVar

from dataflare.declare import nearest
from dataflare.errors import Problem
from dataflare_host.document import Document, child

LEVELS = ("exactly_once", "effectively_once", "at_least_once", "at_most_once", "best_effort")
"""The guarantees, strongest first."""
RULES = ("evolve", "freeze", "discard_row", "discard_value", "dead_letter")
"""What happens to rows of a new schema that a later step refuses."""
ON_ERROR = {"policy": "fail", "attempts": 5, "delay": 0.2, "factor": 2.0, "cap": 30.0, "then": "fail"}
"""What happens to an error when a step does not say: the normal form of ``on_error``."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_FLOW_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")
_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)\}")
_VARIABLE = re.compile(r"(env|secret):([A-Za-z_][A-Za-z0-9_.-]*)\Z")


class Reading:
    """Collects the problems of one reading, each with its place in the document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = list(document.problems)

    def note(
        self, pointer: str, code: str, message: str, fix: str | None = None, *, key: bool = False, **details: Any
    ) -> None:
        """Note a problem with what is at ``pointer`` (or with its key)."""
        problem = Problem(code, message, pointer=pointer, fix=fix, details=details)
        self.problems.append(self.document.placed(problem, key=key))

    def add(self, *problems: Problem) -> None:
        """Take in problems that somebody else found."""
        self.problems += [self.document.placed(problem) for problem in problems]


T = TypeVar("T")
Reader = Callable[[Reading, Any, str], Any]


@dataclass(frozen=True)
class Word:
    """One key of the flow file: how it is read, and its JSON Schema."""

    read: Reader
    schema: Mapping[str, Any]


Words = Mapping[str, Word]


# --- plain words ---------------------------------------------------------------------------------


def _wrong(reading: Reading, pointer: str, expected: str, given: Any) -> None:
    shown = repr(given)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    name = pointer.rpartition("/")[2]
    reading.note(pointer, "flow.type", f"`{name}` must be {expected}, not {shown}", f"write {expected}")


def text(reading: Reading, value: Any, pointer: str) -> str | None:
    """Text that is not empty."""
    if isinstance(value, str) and value.strip():
        return value
    _wrong(reading, pointer, "text", value)
    return None


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def whole(least: int) -> Word:
    """A whole number from ``least`` on."""

    def read(reading: Reading, value: Any, pointer: str) -> int | None:
        number = _whole(value)
        if number is None or number < least:
            _wrong(reading, pointer, f"a whole number from {least} on", value)
            return None
        return number

    return Word(read, {"type": "integer", "minimum": least})


def duration(reading: Reading, value: Any, pointer: str) -> float | None:
    """Seconds."""
    from dataflare.types import parse_duration

    return _parsed(reading, value, pointer, parse_duration, "a duration such as 500ms, 1s or 2m")


def size(reading: Reading, value: Any, pointer: str) -> int | None:
    """Bytes."""
    from dataflare.types import parse_bytes

    return _parsed(reading, value, pointer, parse_bytes, "a size such as 16MiB")


def _parsed(reading: Reading, value: Any, pointer: str, parse: Callable[[Any], T], expected: str) -> T | None:
    try:
        return parse(value)
    except ValueError:
        _wrong(reading, pointer, expected, value)
        return None


def one_of(words: tuple[str, ...]) -> Word:
    """One of a few words."""

    def read(reading: Reading, value: Any, pointer: str) -> str | None:
        if isinstance(value, str) and value in words:
            return value
        guess = nearest(str(value), words)
        listed = ", ".join(words)
        message = f"`{pointer.rpartition('/')[2]}` must be one of {listed}, not {value!r}"
        reading.note(pointer, "flow.type", message, f"write `{guess}`" if guess else f"use one of {listed}")
        return None

    return Word(read, {"enum": list(words)})


def mapping(reading: Reading, value: Any, pointer: str) -> dict[str, Any] | None:
    """A mapping, its values as they are."""
    if isinstance(value, Mapping):
        return dict(value)
    _wrong(reading, pointer, "a mapping (`key: value`)", value)
    return None


def labels(reading: Reading, value: Any, pointer: str) -> dict[str, str] | None:
    """Names to text."""
    given = mapping(reading, value, pointer)
    if given is None:
        return None
    simple = {key: item for key, item in given.items() if isinstance(item, (str, int, float))}
    for key in given.keys() - simple.keys():
        _wrong(reading, child(pointer, key), "text", given[key])
    return {key: str(item).lower() if isinstance(item, bool) else str(item) for key, item in simple.items()}


TEXT = Word(text, {"type": "string"})
DURATION = Word(duration, {"type": ["string", "number"], "format": "duration", "examples": ["1s"]})
SIZE = Word(size, {"type": ["string", "integer"], "format": "bytes", "examples": ["16MiB"]})
CONFIG = Word(mapping, {"type": "object"})
LABELS = Word(labels, {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})


# --- tables of words -------------------------------------------------------------------------------


def table(words: Words, what: str) -> Word:
    """A mapping with these keys only; what is wrong or not given is left out."""

    def read(reading: Reading, value: Any, pointer: str) -> dict[str, Any] | None:
        given = mapping(reading, value, pointer)
        return None if given is None else read_table(reading, given, pointer, words, what)

    return Word(read, object_schema(words))


def read_table(reading: Reading, given: Mapping[str, Any], pointer: str, words: Words, what: str) -> dict[str, Any]:
    """The known keys of a mapping in normal form; unknown ones are noted with the nearest name."""
    found = {}
    for key, value in given.items():
        here = child(pointer, key)
        if key not in words:
            guess = nearest(key, words)
            fix = f"write `{guess}`" if guess else f"{what} takes {', '.join(f'`{word}`' for word in words)}"
            reading.note(here, "flow.unknown_key", f"{what} has no `{key}`", fix, key=True)
        elif value is not None and (read := words[key].read(reading, value, here)) is not None:
            found[key] = read
    return found


def object_schema(words: Words, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON Schema of a table of words."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
    schema["properties"] = {key: dict(word.schema) for key, word in words.items()}
    return {**schema, "required": list(required)} if required else schema


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

Inputs = tuple[tuple[str, str], ...]


def inputs(reading: Reading, value: Any, pointer: str) -> Inputs | None:
    """``from``: a step, ``step.output``, a list of these, or named inputs → (input, reference) in order."""
    if isinstance(value, Mapping):
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
    _wrong(reading, pointer, "a step, `step.output` or a list of these", value)
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
    _wrong(reading, pointer, "a number from 1 on", value)
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

TIME = table({"column": TEXT, "lateness": DURATION}, "`time`")
CHECKPOINT = table({"interval": DURATION, "rows": whole(1), "bytes": SIZE}, "`checkpoint`")
LEVEL, RULE = one_of(LEVELS), one_of(RULES)

COMMON: Words = {"uses": TEXT, "with": CONFIG, "lanes": whole(1), "place": LABELS, "on_error": ON_ERROR_WORD}
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
    "state": COMPONENT,
    "checkpoint": CHECKPOINT,
    "guarantee": LEVEL,
    "time": TIME,
    "max_rejects": whole(0),
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


# --- ${env:NAME} and ${secret:NAME} ----------------------------------------------------------------------


def substituted(reading: Reading, value: Any, pointer: str = "") -> Any:
    """The value as JSON with ``${env:NAME}`` put in; ``${secret:NAME}`` stays, as a whole value below ``with``."""
    if isinstance(value, str):
        return _substituted_text(reading, value, pointer)
    if isinstance(value, Mapping):
        return {str(key): substituted(reading, item, child(pointer, key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [substituted(reading, item, child(pointer, index)) for index, item in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    reading.note(pointer, "flow.not_json", f"a {type(value).__name__} cannot stand in a flow", "give JSON values")
    return None


def _substituted_text(reading: Reading, value: str, pointer: str) -> str:
    def replace(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        known = _VARIABLE.match(found[2])
        if known is None:
            fix = f"write `${{env:{found[2]}}}`, or `$${{…}}` for the text itself"
            message = f"`{found[0]}` is not known: only `${{env:NAME}}` and `${{secret:NAME}}` are put in"
            reading.note(pointer, "flow.substitution", message, fix)
        elif known[1] == "env":
            return _variable(reading, known[2], pointer)
        elif found[0] != value:
            message = f"`{found[0]}` must be the whole value: a secret is never mixed with other text"
            reading.note(pointer, "flow.secret_part", message, "put the whole text into the secret")
        elif "/with/" not in pointer:
            reading.note(pointer, "flow.secret_place", "a secret can stand below `with` only", "write the value itself")
        return found[0]

    return _REFERENCE.sub(replace, value) if "${" in value else value


def _variable(reading: Reading, name: str, pointer: str) -> str:
    found = os.environ.get(name)
    if found is None:
        reading.note(pointer, "flow.env_unset", f"the environment variable `{name}` is not set", f"set `{name}`")
    return found or ""
