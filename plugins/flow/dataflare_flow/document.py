"""A YAML file as plain data, with the place of everything in it.

YAML 1.2 core words: ``true`` and ``false`` are the only booleans, ``010`` is ten, dates stay text. Duplicate keys,
merge keys, foreign tags, values that JSON does not have and aliases that grow without bound are problems.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError, Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 64
_TOO_DEEP = f"values are nested more than {MAX_DEPTH} deep"
_FLATTER = "write it flatter: no component takes values that deep"
Place = tuple[int, int]

_NULL = re.compile(r"(?:~|null|Null|NULL)?\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NO_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_TAG = "tag:yaml.org,2002:"
_PARSER_TOO_DEEP = "exceeded maximum nesting depth"
"""What libyaml says from 0.2.6 on: it reads ahead, so its own bound can be met before ours."""


@dataclass
class Document:
    """The data of a file and where each part stands. ``places`` are (line, column), from one, by JSON pointer.

    A mapping or list under a key stands where its key stands; ``keys`` has the places of the keys themselves.
    ``problems`` are those that left readable data (a duplicate key).
    """

    value: dict[str, Any]
    file: str | None = None
    places: dict[str, Place] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Document:
        """Data that came from no file."""
        return cls(dict(value))

    def placed(self, problem: Problem, *, key: bool = False) -> Problem:
        """The problem with file, line and column of its pointer (or of the nearest part around it).

        ``key``: of the key rather than the value. A place that the problem already names is kept.
        """
        if self.file is None or problem.file is not None:
            return problem
        pointer = problem.pointer or ""
        place = self.keys.get(pointer) if key else None
        while place is None and pointer:
            place = self.places.get(pointer)
            pointer = pointer.rpartition("/")[0]
        line, column = place or self.places.get("", (1, 1))
        return problem.at(file=self.file, line=line, column=column)


def child(pointer: str, key: str | int) -> str:
    """The JSON pointer of a member."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def read_document(path: Path) -> Document:
    """The document in a file. Raises ConfigError: ``flow.missing``, ``flow.unreadable``, as ``parse_document``."""
    file = str(path)
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError.of(
            "flow.missing", f"there is no file `{path}`", file=file, fix="check the path of the flow file"
        ) from error
    except OSError as error:
        cause = error.strerror or type(error).__name__
        fix = "give the path of a file that you may read"
        raise ConfigError.of("flow.unreadable", f"`{path}` cannot be read", file=file, cause=cause, fix=fix) from error
    return parse_document(content, file)


def parse_document(content: bytes, file: str) -> Document:
    """The document in YAML (or JSON) text.

    Raises ConfigError: ``flow.too_large``, ``flow.encoding``, ``flow.syntax``, ``flow.empty``, ``flow.not_mapping``.
    """
    if len(content) > MAX_BYTES:
        fix = "keep data out of the flow file, or make several flows of it"
        raise ConfigError.of("flow.too_large", f"the file is larger than {MAX_BYTES >> 20} MiB", file=file, fix=fix)
    return _Builder(_decode(content, file), file).document()


def core_scalar(text: str) -> Any:
    """The value of a plain word by the YAML 1.2 core schema. Raises ValueError for what JSON does not have."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        if len(text) > 64:
            raise ValueError("it has too many digits")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _NO_JSON.match(text):
        raise ValueError("it is not a finite number")
    if _FLOAT.match(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("it is too large for a number")
        return number
    return text


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        raise ConfigError.of(
            "flow.encoding",
            "the file is not UTF-8",
            file=file,
            line=line,
            column=column,
            cause=f"byte 0x{content[error.start]:02x} does not belong here",
            fix="save the file as UTF-8",
        ) from error


@dataclass(frozen=True)
class _Anchor:
    """A finished anchored value, how many nodes it is written out, and how deep it goes."""

    value: Any
    nodes: int
    height: int


class _Builder:
    """Turns the parser's events into data; the depth is bounded here, since the parser's is not."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.made = Document({}, file)
        self.anchors: dict[str, _Anchor | None] = {}
        self.nodes = 0
        self.deepest = 0

    def document(self) -> Document:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._read(yaml.parse(self.text, Loader=loader))
        except yaml.YAMLError as error:
            raise ConfigError(self._syntax(error)) from error
        return self.made

    def _read(self, events: Iterator[Any]) -> None:
        documents = 0
        for event in events:
            name = type(event).__name__
            if name == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise self._stop("flow.syntax", "there is a second document in the file", event, "remove it")
                self._root(events)
        if documents == 0:
            raise self._stop("flow.empty", "the file is empty", None, "begin with `version: 1` and `sources:`")

    def _root(self, events: Iterator[Any]) -> None:
        event = next(events)
        value = self._value(event, events, "", None, 0)
        if value is None:
            raise self._stop("flow.empty", "the file is empty", None, "begin with `version: 1` and `sources:`")
        if not isinstance(value, dict):
            raise self._stop("flow.not_mapping", "the file is not a mapping", event, "write `key: value` lines")
        self.made.value = value

    def _value(self, event: Any, events: Iterator[Any], pointer: str, key: Place | None, depth: int) -> Any:
        self._count(1, depth, event)
        name = type(event).__name__
        if name == "AliasEvent":
            self.made.places[pointer] = _place(event)
            return self._alias(event, depth)
        if event.anchor:
            self.anchors[event.anchor] = None
        nodes, outer, self.deepest = self.nodes, self.deepest, depth
        if name == "ScalarEvent":
            self.made.places[pointer] = _place(event)
            value = self._scalar(event, pointer)
        else:
            self.made.places[pointer] = key or _place(event)
            self._refuse_tag(event, pointer, ("map",) if name == "MappingStartEvent" else ("seq",))
            read = self._mapping if name == "MappingStartEvent" else self._sequence
            value = read(events, pointer, depth)
        if event.anchor:
            self.anchors[event.anchor] = _Anchor(value, self.nodes - nodes + 1, self.deepest - depth)
        self.deepest = max(outer, self.deepest)
        return value

    def _mapping(self, events: Iterator[Any], pointer: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while type(event := next(events)).__name__ != "MappingEndEvent":
            if type(event).__name__ != "ScalarEvent":
                raise self._stop("flow.key", "a key must be a single word or text", event, "write `name: value`")
            key, here = event.value, _place(event)
            member = child(pointer, key)
            first = self.made.keys.get(member)
            if key == "<<" and not event.style:
                self._note(
                    "flow.merge_key",
                    "merge keys (`<<`) are not part of YAML 1.2",
                    member,
                    here,
                    "write the keys out, or give the whole value an anchor and name it with an alias",
                )
            elif first is not None:
                self._note(
                    "flow.duplicate_key",
                    f"`{key}` is here twice: first in line {first[0]}, column {first[1]}",
                    member,
                    here,
                    "remove or rename one of the two",
                    first={"line": first[0], "column": first[1]},
                )
            self.made.keys.setdefault(member, here)
            value = self._value(next(events), events, member if first is None else f"{member}#", here, depth + 1)
            if key != "<<" or event.style:
                found.setdefault(key, value)
        return found

    def _sequence(self, events: Iterator[Any], pointer: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while type(event := next(events)).__name__ != "SequenceEndEvent":
            found.append(self._value(event, events, child(pointer, len(found)), None, depth + 1))
        return found

    def _alias(self, event: Any, depth: int) -> Any:
        if event.anchor not in self.anchors:
            fix = "put the anchor before it, or write text that begins with `*` in quotes"
            raise self._stop("flow.alias", f"there is no anchor `&{event.anchor}` before this alias", event, fix)
        target = self.anchors[event.anchor]
        if target is None:
            raise self._stop("flow.alias", f"`*{event.anchor}` contains itself", event, "write the value out")
        self._count(target.nodes, depth + target.height, event)
        return target.value

    def _scalar(self, event: Any, pointer: str) -> Any:
        kind = self._refuse_tag(event, pointer, ("str", "int", "float", "bool", "null"))
        if kind == "str" or (event.style and kind is None):
            return event.value
        try:
            return core_scalar(event.value)
        except ValueError as error:
            fix = "write it in quotes if it is text"
            self._note("flow.number", f"`{event.value[:40]}` cannot be used", pointer, _place(event), fix, str(error))
            return None

    def _refuse_tag(self, event: Any, pointer: str, known: tuple[str, ...]) -> str | None:
        tag = str(event.tag or "").removeprefix(_TAG)
        if tag in ("", "!") or tag in known:
            return "str" if tag == "!" and "str" in known else (tag or None)
        self._note("flow.tag", f"the tag `{event.tag}` is not known", pointer, _place(event), "remove it")
        return None

    def _count(self, nodes: int, depth: int, event: Any) -> None:
        self.nodes += nodes
        self.deepest = max(self.deepest, depth)
        if depth > MAX_DEPTH:
            raise self._stop("flow.too_deep", _TOO_DEEP, event, _FLATTER)
        if self.nodes > MAX_NODES:
            raise self._stop(
                "flow.too_large",
                f"the file has more than {MAX_NODES:,} values, aliases written out",
                event,
                "write fewer or smaller aliases",
            )

    def _note(
        self, code: str, message: str, pointer: str, place: Place, fix: str, cause: str | None = None, **details: Any
    ) -> None:
        line, column = place
        self.made.problems.append(
            Problem(
                code,
                message,
                pointer=pointer,
                cause=cause,
                fix=fix,
                file=self.made.file,
                line=line,
                column=column,
                details=details,
            )
        )

    def _stop(self, code: str, message: str, event: Any, fix: str | None = None) -> ConfigError:
        line, column = _place(event) if event is not None else (1, 1)
        problem = Problem(code, message, fix=fix, file=self.made.file, line=line, column=column)
        return ConfigError(*self.made.problems, problem)

    def _syntax(self, error: Any) -> Problem:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        lines = self.text.split("\n")
        here = lines[place[0] - 1] if place[0] <= len(lines) else ""
        if getattr(error, "problem", None) == _PARSER_TOO_DEEP:
            line, column = place
            return Problem("flow.too_deep", _TOO_DEEP, fix=_FLATTER, file=self.made.file, line=line, column=column)
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or "it is not YAML"
        context = getattr(error, "context", None)
        if mark is None and isinstance(position := getattr(error, "position", None), int):
            before = self.text[:position]
            place = (before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1)
        if "\t" in here[: len(here) - len(here.lstrip())]:
            fix = "indent with spaces: YAML does not take tabs there"
        elif "${" in here:
            fix = 'put the value in quotes: "${env:NAME}"'
        else:
            fix = "check indentation, quotes and brackets at this place and just above it"
        return Problem(
            "flow.syntax",
            "the file is not valid YAML",
            cause=f"{said} ({context})" if context else str(said),
            fix=fix,
            file=self.made.file,
            line=place[0],
            column=place[1],
        )


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1
