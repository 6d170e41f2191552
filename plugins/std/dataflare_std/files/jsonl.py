"""JSON lines to rows, a block at a time.

A block in which nothing is odd is read by the compiled parser (``json_native``). Without it a small block is read in
Python, which saves loading DuckDB, and the usual one takes one pass: DuckDB extracts typed columns, strictly. Numbers,
times and the like come as the text that stood there and are cast exactly, since a lenient parser turns 1.5 into 2 and
"+02:00" into nothing. Whether a line holds a key that the schema lacks is told by counting. A block with anything odd
in it is looked at again: lines that are no objects are refused, the schema grows, and what still does not fit is found
row by row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dataflare_std.files.columns import grown
from dataflare_std.files.json_learn import Malformed, connection, loaded, structure_in_lines
from dataflare_std.files.json_native import native_lines
from dataflare_std.files.json_values import BadValue, bad, converter, fields_of_structure
from dataflare_std.files.json_wire import (
    arrow_wire,
    has_twins,
    keys_inside,
    may_hold_empty_row,
    wire,
    wired_schema,
)
from dataflare_std.files.parsing import Parsed, Place, binary_lines, cast_strictly, refusal, starts_of, whole_lines

if TYPE_CHECKING:
    import polars
    import pyarrow as pa

    from dataflare.split import Refused

_GIVE_UP_STRICT = 3
_GIVE_UP_NATIVE = 8
"""Blocks with something odd in them, one after another, after which nothing else is expected."""
_SMALL = 16 << 10


class JsonLines:
    """Parses blocks of JSON lines. One instance a lane; ``schema`` grows with the data unless it is ``fixed``.

    ``fixed``: the schema was given, or only some columns are read: other keys are left unread. ``native``: may the
    compiled parser be used? It gives the same rows.
    """

    def __init__(self, schema: pa.Schema, *, fixed: bool, native: bool = True) -> None:
        self.schema = schema
        self.fixed = fixed
        self._odd = 0 if native else _GIVE_UP_NATIVE
        self._sparse = 0
        self._project = ""
        self._wired: pa.Schema = schema
        self._rewire()

    def close(self) -> None:
        """Let go of the parser."""
        if "_connection" in vars(self):
            self._connection.close()

    @cached_property
    def _connection(self) -> Any:
        return connection()

    def parse(self, place: Place) -> Parsed:
        """The rows of a block in ``self.schema``."""
        view = place.block.view
        rows = self._native_rows(view)
        if rows is not None:
            return Parsed(rows)
        if len(view) > _SMALL and self._sparse < _GIVE_UP_STRICT:
            rows = self._at_once(view)
            if rows is not None:
                return Parsed(rows)
        raw = binary_lines(place.block.data)
        refused: list[Refused] = []
        lines, origin = self._text(raw, place, refused)
        read = self._careful if len(view) > _SMALL else self._small
        return read(lines, origin, raw, place, refused)

    # --- the usual block -----------------------------------------------------------------------

    def _native_rows(self, view: memoryview) -> pa.RecordBatch | None:
        """The rows of a block in which nothing is odd by the compiled parser, else None."""
        if self._native is None or self._odd >= _GIVE_UP_NATIVE:
            return None
        rows = self._native.rows(view)
        self._odd = self._odd + 1 if rows is None else 0
        return rows

    def _at_once(self, view: memoryview) -> pa.RecordBatch | None:
        """The rows of a block in which nothing is odd, else None. Nothing of the block is copied before the parse."""
        import polars
        import pyarrow as pa

        octets = polars.Series(pa.UInt8Array.from_buffers(pa.uint8(), len(view), [None, pa.py_buffer(view)]))
        lines = whole_lines(view, octets)
        rows = None if lines is None else self._strict(lines)
        return rows if rows is not None and self._complete(rows, octets) else None

    def _rewire(self) -> None:
        self._native = native_lines(self.schema, lenient=self.fixed)
        self._wired = wired_schema(self.schema)
        structure = json.dumps({field.name: wire(field.type) for field in self.schema}, ensure_ascii=False)
        self._project = "unnest(from_json_strict(line, '" + structure.replace("'", "''") + "'))"
        names = {name.lower() for name in self.schema.names}
        if not names or len(names) < len(self.schema) or any(has_twins(field.type) for field in self.schema):
            self._sparse = _GIVE_UP_STRICT

    def _relation(self, lines: pa.Array) -> Any:
        import pyarrow as pa

        return self._connection.from_arrow(pa.table({"line": lines}))

    def _strict(self, lines: pa.StringArray) -> pa.RecordBatch | None:
        """The rows if every line has every column and every value fits, else None."""
        import duckdb
        import pyarrow as pa

        if not len(lines):
            return None
        try:
            table = self._relation(lines).project(self._project).to_arrow_table()
            columns = [
                cast_strictly(_one_chunk(column).cast(wire.type), field.type)
                for column, wire, field in zip(table.columns, self._wired, self.schema, strict=True)
            ]
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            self._sparse += "does not have key" in str(error)
            return None
        except (pa.ArrowInvalid, UnicodeDecodeError):  # DuckDB may cut the line that it quotes inside a character
            return None
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _complete(self, rows: pa.RecordBatch, octets: polars.Series) -> bool:
        """False if some line may be no object, or hold more keys than were read."""
        if self.fixed:
            return not may_hold_empty_row(rows)
        quote, following = octets[:-1] == 0x22, octets[1:]
        keys = (quote & (following == 0x3A)).sum()
        apart = (quote & (following <= 0x20)).any()
        return not apart and keys == rows.num_rows * len(self.schema) + sum(map(keys_inside, rows.columns))

    # --- a block with something odd in it --------------------------------------------------------

    def _text(
        self, raw: pa.BinaryArray, place: Place, refused: list[Refused]
    ) -> tuple[pa.StringArray, list[int] | None]:
        """The lines as text, without those that are not UTF-8; and the row of each, None if all are there."""
        import pyarrow as pa

        try:
            return raw.cast(pa.string()), None
        except pa.ArrowInvalid:
            pass
        good: list[tuple[int, str]] = []
        for row, (line, start) in enumerate(zip(raw.to_pylist(), starts_of(raw), strict=True)):
            try:
                good.append((row, line.decode()))
            except UnicodeDecodeError as error:
                message = f"byte {error.start + 1} of the line is not UTF-8"
                refused.append(refusal("files.bad_utf8", message, line, place.of(row, start)))
        return pa.array([line for _, line in good], pa.string()), [row for row, _ in good]

    def _careful(
        self, lines: pa.StringArray, origin: list[int] | None, raw: pa.BinaryArray, place: Place, refused: list[Refused]
    ) -> Parsed:
        import pyarrow.compute as pc

        kinds = _one_chunk(self._relation(lines).project("try(json_type(line))").to_arrow_table().column(0))
        objects = pc.fill_null(pc.equal(kinds, "OBJECT"), False)
        rows = origin if origin is not None else list(range(len(lines)))
        if not pc.all(objects, min_count=0).as_py():
            self._refuse_others(lines, objects, kinds, rows, raw, place, refused)
            rows = [row for row, keep in zip(rows, objects.to_pylist(), strict=True) if keep]
            lines = lines.filter(objects)
        if not len(lines):
            return Parsed(None, sorted(refused, key=_line_of))
        parsed = self._arrow(lines)
        if parsed is None:
            parsed = self._one_by_one(lines, rows, raw, place, refused)
        return Parsed(parsed, sorted(refused, key=_line_of))

    def _small(
        self, lines: pa.StringArray, origin: list[int] | None, raw: pa.BinaryArray, place: Place, refused: list[Refused]
    ) -> Parsed:
        import pyarrow as pa

        rows = origin if origin is not None else list(range(len(lines)))
        kept = [(line, row) for line, row in zip(lines.to_pylist(), rows, strict=True) if line.strip()]
        text = pa.array([line for line, _ in kept], pa.string())
        parsed = self._one_by_one(text, [row for _, row in kept], raw, place, refused)
        return Parsed(parsed, sorted(refused, key=_line_of))

    def _refuse_others(
        self,
        lines: pa.StringArray,
        objects: pa.BooleanArray,
        kinds: pa.StringArray,
        rows: list[int],
        raw: pa.BinaryArray,
        place: Place,
        refused: list[Refused],
    ) -> None:
        """Refuse the lines that hold no object; blank ones are nothing."""
        starts = starts_of(raw)
        found = zip(lines.to_pylist(), objects.to_pylist(), kinds.to_pylist(), rows, strict=True)
        for line, is_object, kind, row in found:
            if not is_object and line.strip():
                message = _what_is_wrong(line) if kind is None else f"a line must hold an object, not {kind.lower()}"
                refused.append(refusal("files.bad_json", message, raw[row].as_py(), place.of(row, starts[row])))

    def _arrow(self, lines: pa.StringArray) -> pa.RecordBatch | None:
        """The rows by Arrow's reader, which takes absent keys and refuses everything else that is odd."""
        import pyarrow as pa
        import pyarrow.json as arrow_json

        wanted = pa.schema([pa.field(field.name, arrow_wire(field.type)) for field in self.schema])
        text = "\n".join(lines.to_pylist()).encode()
        try:
            table = arrow_json.read_json(
                pa.BufferReader(text),
                arrow_json.ReadOptions(use_threads=False, block_size=max(len(text), 1 << 16)),
                arrow_json.ParseOptions(
                    explicit_schema=wanted, unexpected_field_behavior="ignore" if self.fixed else "error"
                ),
            )
            if table.num_rows != len(lines) or not len(self.schema):
                return None
            columns = [cast_strictly(_one_chunk(table.column(field.name)), field.type) for field in self.schema]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError):
            return None
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _one_by_one(
        self, lines: pa.StringArray, rows: list[int], raw: pa.BinaryArray, place: Place, refused: list[Refused]
    ) -> pa.RecordBatch:
        """The rows in Python: lines that do not fit widen the schema where they can, else they are refused."""
        import pyarrow as pa

        text = lines.to_pylist()
        read = self._row_reader()
        found: list[list[Any] | BadValue] = [read(line) for line in text]
        odd = [index for index, values in enumerate(found) if isinstance(values, BadValue)]
        if odd and not self.fixed and self._learn(pa.array([text[index] for index in odd], pa.string())):
            read = self._row_reader()
            found = [read(line) for line in text]
            odd = [index for index, values in enumerate(found) if isinstance(values, BadValue)]
        starts = starts_of(raw) if odd else []
        for index in odd:
            error, row = found[index], rows[index]
            if isinstance(error, BadValue):
                refused.append(refusal(error.code, str(error), raw[row].as_py(), place.of(row, starts[row])))
        good = [values for values in found if not isinstance(values, BadValue)]
        columns = zip(*good, strict=True) if good else [()] * len(self.schema)
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _row_reader(self) -> Callable[[str], list[Any] | BadValue]:
        """A function that gives the values of a line, or what is wrong with it."""
        parts = [(f.name, converter(f.type, f.name, exact=not self.fixed)) for f in self.schema]
        names = frozenset(self.schema.names)

        def read(line: str) -> list[Any] | BadValue:
            try:
                found = self._object(line)
                if not found and not names:
                    raise BadValue("files.bad_json", "an empty object, and no column is known: there is no such row")
                if not self.fixed and not names.issuperset(found):
                    return bad(line, f"only the keys {', '.join(names)}", "line")
                return [part(found.get(name)) for name, part in parts]
            except BadValue as error:
                return error

        return read

    def _object(self, line: str) -> dict[str, Any]:
        """The object of a line. DuckDB takes a trailing comma, so that one is taken here too."""
        import pyarrow as pa

        try:
            found = loaded(line)
        except Malformed:
            plain = self._relation(pa.array([line])).project("try(json(line))").to_arrow_table().column(0)[0].as_py()
            if plain is None:
                raise
            found = loaded(plain)
        if not isinstance(found, dict):
            raise BadValue("files.bad_json", f"a line must hold an object, not {type(found).__name__}")
        return found

    def _learn(self, lines: pa.StringArray) -> bool:
        """Let the schema take the columns and wider types of these lines; False if it stays as it is."""
        import pyarrow as pa

        found = fields_of_structure(structure_in_lines(lines.to_pylist()))
        wider = pa.schema(grown(list(self.schema), found))
        if wider.equals(self.schema):
            return False
        self.schema = wider
        self._rewire()
        return True


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _line_of(refused: Refused) -> int:
    return int(refused.place["line"])


def _what_is_wrong(line: str) -> str:
    try:
        loaded(line)
    except BadValue as error:
        return str(error)
    return "not JSON as it is meant to be: a number, escape or key is wrong"
