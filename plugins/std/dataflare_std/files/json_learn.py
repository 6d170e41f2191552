"""The columns of JSON lines, learned from a sample."""

from __future__ import annotations

import atexit
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from dataflare_std.files.json_native import native_lines
from dataflare_std.files.json_values import BadValue, fields_of_structure, merged, structure_in
from dataflare_std.files.parsing import binary_lines

if TYPE_CHECKING:
    import pyarrow as pa

_SMALL_SAMPLE = 128 << 10
_FIRST_LOOK = 64 << 10
_LEVELS = 100
"""How deep values may be nested; a line that is deeper would break DuckDB, which learns, and Python's stack."""
_VAST = re.compile(rb"[:,\[\s]-?\d{20}")
"""A whole number that DuckDB takes for a floating one, which would cost its column the last digits."""


def learn(sample: bytes) -> list[pa.Field]:
    """The columns of a sample of whole lines."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sample = sample.removeprefix(b"\xef\xbb\xbf")
    if len(sample) > _SMALL_SAMPLE and (found := _at_first_look(sample)):
        return found
    raw = binary_lines(sample)
    try:
        lines = raw.cast(pa.string())
    except pa.ArrowInvalid:
        text = [line.decode("utf-8", "replace") for line in raw.to_pylist()]
        lines = pa.array(text, pa.string())
    lines = _shallow(lines.filter(pc.not_equal(lines, "")))
    if len(sample) <= _SMALL_SAMPLE or _VAST.search(sample):
        return fields_of_structure(structure_in_lines(lines.to_pylist()))
    parser = connection()
    try:
        structure = _structure_by_duckdb(parser, lines)
    finally:
        parser.close()
    if '"JSON"' in json.dumps(structure):
        structure = structure_in_lines(lines.to_pylist())
    return fields_of_structure(structure)


def _at_first_look(sample: bytes) -> list[pa.Field] | None:
    """The columns of the first lines, if all others fit them exactly: then more lines teach nothing."""
    import pyarrow as pa

    try:
        head = sample[: sample.rfind(b"\n", 0, _FIRST_LOOK) + 1].decode()
    except UnicodeDecodeError:
        return None
    fields = fields_of_structure(structure_in_lines(head.split("\n")))
    parser = native_lines(pa.schema(fields), lenient=False)
    return fields if parser is not None and parser.rows(memoryview(sample)) is not None else None


def connection() -> Any:
    """A connection of its own to the process's parser; its queries run in the calling thread."""
    return _database().cursor()


@cache
def _database() -> Any:
    import duckdb

    database = duckdb.connect(config={"threads": 1})
    atexit.register(_forget)
    return database


def _forget() -> None:
    """Let go of the parser before the interpreter does, which would complain."""
    _database().close()
    _database.cache_clear()


def structure_in_lines(lines: list[str]) -> Mapping[str, Any]:
    """Keys and types of all objects among the lines; a few odd values do not decide a type."""
    found = []
    for line in lines:
        try:
            value = loaded(line)
        except BadValue:
            continue
        if isinstance(value, dict) and value:
            found.append(structure_in(value))
    structure = merged(found)
    return structure if isinstance(structure, dict) else {}


def _structure_by_duckdb(parser: Any, lines: pa.StringArray) -> Mapping[str, Any]:
    """Keys and types of all objects among the lines, as DuckDB names them; lines that hold none are passed over."""
    import pyarrow as pa

    query = "json_group_structure(case when try(json_type(line)) = 'OBJECT' then line::json end)"
    found = parser.from_arrow(pa.table({"line": lines})).aggregate(query).fetchall()[0][0]
    structure = json.loads(found) if found else {}
    return structure if isinstance(structure, dict) else {}


def _shallow(lines: pa.StringArray) -> pa.StringArray:
    """Without the lines that are nested too deep, or perhaps are and cannot be told."""
    import pyarrow as pa
    import pyarrow.compute as pc

    opened = pc.add(pc.count_substring(lines, "["), pc.count_substring(lines, "{"))
    if not len(lines) or pc.max(opened).as_py() <= _LEVELS:
        return lines
    found = zip(lines.to_pylist(), pc.less_equal(opened, _LEVELS).to_pylist(), strict=True)
    return pa.array([line for line, is_flat in found if is_flat or _is_read(line)], pa.string())


def _is_read(line: str) -> bool:
    try:
        loaded(line)
    except BadValue:
        return False
    return True


class Malformed(BadValue):
    """A line that Python's parser does not take."""


def loaded(line: str) -> Any:
    """The JSON value of a line. Raises BadValue (``files.bad_json``)."""
    try:
        found = json.loads(line, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        raise Malformed("files.bad_json", f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise BadValue("files.bad_json", f"not JSON: {error}") from error
    if line.count("[") + line.count("{") > _LEVELS:
        _refuse_deep(found)
    if "\\u" in line:
        _refuse_halves(found)
    return found


def _refuse_halves(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadValue("files.bad_json", "an escaped half of a surrogate pair is no character") from error


def _refuse_deep(value: Any) -> None:
    level = [value]
    for _ in range(_LEVELS + 1):
        level = [
            part
            for item in level
            if isinstance(item, (dict, list))
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> BadValue:
    return BadValue("files.bad_json", f"values are nested more than {_LEVELS} deep")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise BadValue("files.bad_json", f"the key `{double}` stands twice in one object")
    return found
