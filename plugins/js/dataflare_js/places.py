"""Where an error happened in the author's own files: stacks of both engines, through the bundle's source map."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from posixpath import normpath

PLUGIN = "plugin.js"
"""The name under which an engine runs a plugin's script."""
ADDED_LINES = 1
"""Lines that stand before the author's first one in what an engine runs."""
_OURS = re.compile(r"(?:starling|prelude|initializer|dataflare-sdk)\.js:\d+(?::\d+)?\)?$")
_FRAME = re.compile(r"^\s*(?:at )?(?:(?P<name>[^@(]*?)\s*[@(])?plugin\.js:(?P<line>\d+)(?::(?P<column>\d+))?\)?$")
_PLACE = re.compile(r"\bplugin\.js:(\d+):(\d+)")
_DIGITS = {letter: i for i, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
_FRAMES = 20
Mapping = tuple[int, int, int, int]
"""A column of the bundle → the source's number, line and column; all from 0."""


class Places:
    """Knows the author's place for each place of a bundle. ``source_map`` is the content of its map, if there is one.

    A map that cannot be read is as good as none: errors name places of the bundle then.
    """

    def __init__(self, source_map: bytes | None = None) -> None:
        self._map = source_map
        self._lines: list[list[Mapping]] | None = None
        self._sources: list[str] = []

    def place(self, line: int, column: int) -> str:
        """``file:line:column`` in the author's files, for one that an engine told of (from 1)."""
        if self._lines is None:
            self._lines = self._read()
        line -= ADDED_LINES
        if 0 < line <= len(self._lines):
            known = self._lines[line - 1]
            at = bisect_right(known, (column - 1, 1 << 60, 0, 0)) - 1
            if at >= 0:
                _, source, own_line, own_column = known[at]
                if 0 <= source < len(self._sources):
                    return f"{self._sources[source]}:{own_line + 1}:{own_column + 1}"
        return f"{PLUGIN}:{line}:{column}"

    def told(self, text: str) -> str:
        """A message with the places that it names put right."""
        return _PLACE.sub(lambda found: self.place(int(found[1]), int(found[2])), text)

    def error(self, text: str) -> str:
        """An error and its stack as an engine writes them: the author's frames, in the author's places."""
        lines: list[str] = []
        frames = 0
        for line in text.splitlines():
            found = _FRAME.match(line)
            if found is None:
                if line.strip() and not _OURS.search(line):
                    lines.append(self.told(line))
                continue
            frames += 1
            if frames <= _FRAMES:
                name = (found["name"] or "").strip().rpartition("*")[2].rstrip("/<")
                place = self.place(int(found["line"]), int(found["column"] or 1))
                lines.append(f"  at {name} ({place})" if name and name != "<anonymous>" else f"  at {place}")
        if frames > _FRAMES:
            lines.append(f"  and {frames - _FRAMES} more")
        return "\n".join(lines)

    def first(self, stack: str) -> str | None:
        """The author's place of a stack's innermost frame."""
        found = next((match for line in stack.splitlines() if (match := _FRAME.match(line))), None)
        return self.place(int(found["line"]), int(found["column"] or 1)) if found else None

    def _read(self) -> list[list[Mapping]]:
        try:
            told = json.loads(self._map or b"{}")
            root = str(told.get("sourceRoot") or "")
            self._sources = [_named(root, str(source)) for source in told.get("sources") or ()]
            return list(_mappings(str(told.get("mappings") or "")))
        except (ValueError, KeyError, AttributeError, TypeError):
            return []


def _mappings(text: str) -> Iterator[list[Mapping]]:
    """The lines of a source map's ``mappings``. Raises KeyError, ValueError for what is none."""
    source = line = column = 0
    for group in text.split(";"):
        at, found = 0, []
        for segment in filter(None, group.split(",")):
            numbers = list(_numbers(segment))
            at += numbers[0]
            if len(numbers) >= 4:
                source, line, column = source + numbers[1], line + numbers[2], column + numbers[3]
                found.append((at, source, line, column))
        yield sorted(found)


def _numbers(segment: str) -> Iterator[int]:
    """Base-64 VLQ: six bits a letter, the highest says that more follow; the lowest bit of a number is its sign."""
    value = shift = 0
    for letter in segment:
        digit = _DIGITS[letter]
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            yield -(value >> 1) if value & 1 else value >> 1
            value = shift = 0
    if shift:
        raise ValueError("a number of the source map does not end")


def _named(root: str, source: str) -> str:
    path = normpath(f"{root.rstrip('/')}/{source}" if root else source)
    while path.startswith("../"):
        path = path[3:]
    return path
