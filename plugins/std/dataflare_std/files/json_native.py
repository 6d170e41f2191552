"""The compiled parser of JSON lines (``native/json_lines.c``), for blocks in which nothing is odd.

It gives the rows that the other readers would give, or none at all: then they look at the block. Where it was not
compiled there is none of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare_std.files.parsing import cast_strictly

if TYPE_CHECKING:
    import pyarrow as pa

_LIBRARY = Path(__file__).parents[1] / "native" / "json_lines.so"  # in no package: Python would take it for a module
_NOTHING, _BOOLEAN, _SIGNED, _UNSIGNED, _DOUBLE, _TEXT, _LIST, _STRUCT = range(8)
_HELD = 80
"""Bytes of Arrow's ``struct ArrowArray``."""


class _Column(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int32),
        ("bits", ctypes.c_int32),
        ("children", ctypes.c_int32),
        ("key_length", ctypes.c_int32),
        ("key", ctypes.c_char_p),
    ]


class NativeLines:
    """The parser for one schema. ``lenient``: keys that the schema lacks are passed over."""

    def __init__(self, schema: pa.Schema, *, lenient: bool) -> None:
        import pyarrow as pa

        self._schema = schema
        self._wired = pa.schema([pa.field(field.name, _wired(field.type)) for field in schema])
        columns = list(_columns("", pa.struct(list(self._wired))))
        self._columns = (_Column * len(columns))(*columns)
        self._lenient = lenient

    def rows(self, view: memoryview) -> pa.RecordBatch | None:
        """The rows of whole lines; None if something is odd about any of them."""
        import pyarrow as pa

        parse = _parse()
        if parse is None:
            return None
        octets, held = pa.py_buffer(view), ctypes.create_string_buffer(_HELD)
        if not parse(octets.address, octets.size, self._columns, self._lenient, held):
            return None
        rows = pa.RecordBatch._import_from_c(ctypes.addressof(held), self._wired)
        if self._wired.equals(self._schema):
            return rows
        try:
            columns = [cast_strictly(column, field.type) for column, field in zip(rows, self._schema, strict=True)]
        except pa.ArrowInvalid:
            return None
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def native_lines(schema: pa.Schema, *, lenient: bool) -> NativeLines | None:
    """The parser for a schema; None where it is not there, or does not know the columns."""
    import pyarrow as pa

    if _parse() is None or not _known(pa.struct(list(schema))):
        return None
    return NativeLines(schema, lenient=lenient)


@cache
def _parse() -> ctypes._FuncPointer | None:  # type: ignore[name-defined]
    """The function of the library; it lets other threads run meanwhile."""
    try:
        found = ctypes.CDLL(str(_LIBRARY)).dataflare_json_lines
    except OSError:
        return None
    found.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    return found


def _known(kind: pa.DataType) -> bool:
    """Has every object a key, and are the keys written as they are? One with a quote in it could be taken for two."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return _known(kind.value_type)
    if not pa.types.is_struct(kind):
        return True
    plain = all(name.isprintable() and not set(name) & {'"', "\\"} for name in (field.name for field in kind))
    return plain and kind.num_fields > 0 and all(_known(field.type) for field in kind)


def _wired(kind: pa.DataType) -> pa.DataType:
    """What the parser makes for a column: times, decimals and bytes are text, which is cast strictly."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _wired(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_wired(kind.value_type))
    if pa.types.is_floating(kind):
        return pa.float64()
    plain = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    return kind if plain else pa.string()


def _columns(name: str, kind: pa.DataType) -> Iterator[_Column]:
    """A column and those inside it, as the parser is told them."""
    import pyarrow as pa

    key = name.encode()
    if pa.types.is_struct(kind):
        yield _Column(_STRUCT, 0, kind.num_fields, len(key), key)
        for field in kind:
            yield from _columns(field.name, field.type)
    elif pa.types.is_list(kind):
        yield _Column(_LIST, 0, 1, len(key), key)
        yield from _columns("", kind.value_type)
    else:
        yield _Column(*_plain(kind), 0, len(key), key)


def _plain(kind: pa.DataType) -> tuple[int, int]:
    import pyarrow as pa

    if pa.types.is_null(kind):
        return _NOTHING, 0
    if pa.types.is_boolean(kind):
        return _BOOLEAN, 1
    if pa.types.is_integer(kind):
        return _SIGNED if pa.types.is_signed_integer(kind) else _UNSIGNED, kind.bit_width
    return (_DOUBLE, 64) if pa.types.is_floating(kind) else (_TEXT, 0)
