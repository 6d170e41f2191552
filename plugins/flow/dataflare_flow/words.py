"""Reading a mapping word by word: the kinds of values, tables of words, what an editor is told of them.

A reader gets the value and its JSON pointer, notes what is wrong with it and answers None, which everywhere
means "not given"; so one reading finds every mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dataflare.declare import nearest
from dataflare.errors import Problem
from dataflare_flow.document import Document, child


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
        """Take in problems that somebody else found; what is wrong with an unknown field is its name."""
        for problem in problems:
            self.problems.append(self.document.placed(problem, key=problem.code == "config.unknown_field"))


T = TypeVar("T")
Reader = Callable[[Reading, Any, str], Any]


@dataclass(frozen=True)
class Word:
    """One key of the flow file: how it is read, and its JSON Schema."""

    read: Reader
    schema: Mapping[str, Any]


Words = Mapping[str, Word]


# --- plain words ---------------------------------------------------------------------------------


def wrong(reading: Reading, pointer: str, expected: str, given: Any) -> None:
    shown = repr(given)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    name = pointer.rpartition("/")[2]
    reading.note(pointer, "flow.type", f"`{name}` must be {expected}, not {shown}", f"write {expected}")


def text(reading: Reading, value: Any, pointer: str) -> str | None:
    """Text that is not empty."""
    if isinstance(value, str) and value.strip():
        return value
    wrong(reading, pointer, "text", value)
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
            wrong(reading, pointer, f"a whole number from {least} on", value)
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
        wrong(reading, pointer, expected, value)
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
    wrong(reading, pointer, "a mapping (`key: value`)", value)
    return None


def labels(reading: Reading, value: Any, pointer: str) -> dict[str, str] | None:
    """Names to text."""
    given = mapping(reading, value, pointer)
    if given is None:
        return None
    simple = {key: item for key, item in given.items() if isinstance(item, (str, int, float))}
    for key in given.keys() - simple.keys():
        wrong(reading, child(pointer, key), "text", given[key])
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
