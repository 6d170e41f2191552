"""CSV to rows, a block at a time: typed by Arrow's reader, which names ragged rows; the rest is found by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflare_std.files.columns import grown
from dataflare_std.files.json_values import ENOUGH
from dataflare_std.files.parsing import Parsed, Place, binary_lines, refusal, starts_of

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.split import Refused

_LEADING_ZERO = r"^\s*[+-]?0\d"
_WHOLE = r"^\s*[+-]?\d{1,18}\s*$"
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_DATE = r"^\s*\d{4}-\d\d-\d\d\s*$"


@dataclass(frozen=True)
class Dialect:
    """How a file is written. ``null``: the unquoted text that means "no value"."""

    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    null: str = ""
    multiline: bool = True


@dataclass(frozen=True)
class Record:
    """A row as it stands in a block: its first line (from zero), how many fields it has, its offset and length."""

    line: int
    fields: int
    offset: int
    length: int


def names_in(head: bytes, dialect: Dialect) -> list[str]:
    """The column names of a file by its first bytes: its header, or ``column_1`` and so on."""
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    first: list[str] = next((row for row in _reader(text, dialect) if row), [])
    if not dialect.header:
        return [f"column_{number}" for number in range(1, len(first) + 1)]
    return _distinct([name.strip() or f"column_{number}" for number, name in enumerate(first, start=1)])


def header_length(head: bytes, dialect: Dialect) -> int:
    """How many bytes the header takes, blank lines before it included; ``head`` are the first bytes of the file."""
    mark = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    if not dialect.header:
        return mark
    text = head[mark:].decode("utf-8", "surrogateescape")
    reader = _reader(text, dialect)
    next((row for row in reader if row), None)
    used = sum(len(line.encode("utf-8", "surrogateescape")) + 1 for line in text.split("\n")[: reader.line_num])
    return min(len(head), mark + used)


def learn(sample: bytes, names: Sequence[str], dialect: Dialect) -> list[pa.Field]:
    """The columns of a sample of whole rows (no header). Numbers with leading zeros are text: they are no numbers."""
    import pyarrow as pa

    if not sample.strip():
        return [pa.field(name, pa.null()) for name in names]
    clean = sample.decode("utf-8", "replace").encode()
    table = _read(clean, names, {}, names, dialect, [])
    plain = _read(clean, names, {name: pa.string() for name in names}, names, dialect, [])
    return [pa.field(name, _settled(table.column(name).type, plain.column(name))) for name in names]


class CsvLines:
    """Parses blocks of CSV rows. One instance a lane; ``schema`` grows with the data unless it is ``fixed``."""

    def __init__(self, schema: pa.Schema, dialect: Dialect, *, fixed: bool) -> None:
        self.schema = schema
        self.dialect = dialect
        self.fixed = fixed

    def parse(self, place: Place, names: Sequence[str]) -> Parsed:
        """The rows of a block whose columns are ``names``, in ``self.schema``."""
        import pyarrow as pa

        refused: list[Refused] = []
        data, kept = _only_utf8(place, refused)
        if not data.strip():
            return Parsed(None, refused)
        self._learn_names(names)
        known = set(self.schema.names)
        read = [name for name in names if name in known]
        ragged: list[Any] = []
        try:
            types = {field.name: field.type for field in self.schema if not pa.types.is_null(field.type)}
            table = _read(data, names, types, read, self.dialect, ragged)
            bad = dict[int, str]()
        except pa.ArrowInvalid:
            ragged.clear()
            table, bad = self._column_by_column(data, names, read, ragged)
        if ragged or bad:
            table = self._refuse(data, table, names, bad, len(ragged), place, kept, refused)
        if not table.num_rows:
            return Parsed(None, refused)
        return Parsed(self._fitted(table), refused)

    def _learn_names(self, names: Sequence[str]) -> None:
        import pyarrow as pa

        if not self.fixed:
            self.schema = pa.schema(grown(list(self.schema), [pa.field(name, pa.null()) for name in names]))

    def _fitted(self, table: pa.Table) -> pa.RecordBatch:
        """The columns of the schema, which takes types for columns that had none yet."""
        import pyarrow as pa

        if not self.fixed:
            found = [pa.field(f.name, _usual(f.type)) for f in table.schema]
            self.schema = pa.schema(grown(list(self.schema), found))
        given = {field.name: column for field, column in zip(table.schema, table.columns, strict=True)}
        columns = [
            given[field.name].combine_chunks().cast(field.type)
            if field.name in given
            else pa.nulls(table.num_rows, field.type)
            for field in self.schema
        ]
        columns = [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _column_by_column(
        self, data: bytes, names: Sequence[str], read: list[str], ragged: list[Any]
    ) -> tuple[pa.Table, dict[int, str]]:
        """The rows with each column cast by itself, and what does not fit by row; such values are null here."""
        import pyarrow as pa

        text = _read(data, names, {name: pa.string() for name in names}, read, self.dialect, ragged)
        columns: list[pa.Array] = []
        bad: dict[int, str] = {}
        for name in read:
            column, kind = text.column(name).combine_chunks(), self.schema.field(name).type
            wrong = _misfits(column, kind)
            if wrong and pa.types.is_integer(kind) and not self.fixed:
                as_float = _misfits(column, pa.float64())
                wrong, kind = (as_float, pa.float64()) if len(as_float) < len(wrong) else (wrong, kind)
            for row in wrong:
                bad.setdefault(row, f"`{name}` holds {column[row].as_py()[:80]!r}, expected {kind}")
            columns.append(_cast(_without(column, wrong), kind))
        return pa.table(columns, names=read), bad

    def _refuse(
        self,
        data: bytes,
        table: pa.Table,
        names: Sequence[str],
        bad: dict[int, str],
        ragged: int,
        place: Place,
        kept: list[int] | None,
        refused: list[Refused],
    ) -> pa.Table:
        """Refuse the ragged rows, and take out those with values that do not fit."""
        import pyarrow as pa

        records = _records(data, self.dialect)
        whole = [record for record in records if record.fields == len(names)]
        for record in records:
            if record.fields != len(names) and ragged:
                message = f"the row has {record.fields} fields, expected {len(names)}"
                refused.append(_refused("files.ragged_row", message, data, record, place, kept))
        for row, message in sorted(bad.items()):
            record = whole[row] if len(whole) == table.num_rows else Record(row, 0, 0, 0)
            refused.append(_refused("files.bad_type", message, data, record, place, kept))
        refused.sort(key=lambda item: int(item.place["line"]))
        if not bad:
            return table
        return table.filter(pa.array([row not in bad for row in range(table.num_rows)]))


def _read(
    data: bytes, names: Sequence[str], types: dict[str, Any], read: Sequence[str], dialect: Dialect, ragged: list[Any]
) -> pa.Table:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    def keep(row: Any) -> str:
        ragged.append(row)
        return "skip"

    return arrow_csv.read_csv(
        pa.BufferReader(data),
        arrow_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(names)),
        arrow_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            newlines_in_values=dialect.multiline,
            invalid_row_handler=keep,
        ),
        arrow_csv.ConvertOptions(
            column_types=types,
            include_columns=list(read),
            null_values=[dialect.null],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _usual(kind: pa.DataType) -> pa.DataType:
    """Times in microseconds, dates as dates; what Arrow's reader infers otherwise stays."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    return pa.time64("us") if pa.types.is_time(kind) else kind


def _settled(kind: pa.DataType, text: pa.ChunkedArray) -> pa.DataType:
    """The type of a sampled column: numbers with leading zeros are text, a few odd values do not make numbers text."""
    import pyarrow as pa

    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pa.string() if _share(text, _LEADING_ZERO) else _usual(kind)
    if pa.types.is_string(kind) and not _share(text, _LEADING_ZERO):
        for pattern, likely in ((_WHOLE, pa.int64()), (_NUMBER, pa.float64()), (_DATE, pa.date32())):
            if _share(text, pattern) >= ENOUGH:
                return likely
    return _usual(kind)


def _share(text: pa.ChunkedArray, pattern: str) -> float:
    """The share of the values that match."""
    import pyarrow.compute as pc

    return float(pc.mean(pc.match_substring_regex(text, pattern)).as_py() or 0.0)


def _cast(text: pa.StringArray, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(kind) or pa.types.is_string(kind):
        return text
    trimmed = pc.utf8_trim_whitespace(text)
    if pa.types.is_boolean(kind):
        trimmed = pc.utf8_lower(trimmed)
    return trimmed.cast(kind)


def _misfits(text: pa.StringArray, kind: pa.DataType) -> list[int]:
    """The rows whose text is no value of the type."""
    import pyarrow as pa

    wrong: list[int] = []
    parts = [(0, len(text))]
    while parts:
        start, length = parts.pop()
        try:
            _cast(text.slice(start, length), kind)
        except pa.ArrowInvalid:
            if length == 1:
                wrong.append(start)
                continue
            half = length // 2
            parts += [(start + half, length - half), (start, half)]
    return wrong


def _without(text: pa.StringArray, rows: list[int]) -> pa.StringArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not rows:
        return text
    mask = [False] * len(text)
    for row in rows:
        mask[row] = True

    return pc.if_else(pa.array(mask), pa.scalar(None, pa.string()), text)


def _only_utf8(place: Place, refused: list[Refused]) -> tuple[bytes, list[int] | None]:
    """The block without lines that are not UTF-8, and which lines these are in the file's count; None: all of them."""
    import pyarrow as pa

    data = place.block.data
    lines = binary_lines(data)
    try:
        lines.cast(pa.string())
        return data, None
    except pa.ArrowInvalid:
        pass
    kept: list[int] = []
    good: list[bytes] = []
    for number, (line, start) in enumerate(zip(lines.to_pylist(), starts_of(lines), strict=True)):
        try:
            line.decode()
            kept.append(number)
            good.append(line)
        except UnicodeDecodeError as error:
            message = f"byte {error.start + 1} of the line is not UTF-8"
            refused.append(refusal("files.bad_utf8", message, line, place.of(number, start)))
    return b"\n".join(good), kept


def _refused(code: str, message: str, data: bytes, record: Record, place: Place, kept: list[int] | None) -> Refused:
    raw = data[record.offset : record.offset + record.length].rstrip(b"\r\n")
    line = record.line if kept is None else kept[record.line]
    offset = record.offset
    if kept is not None:
        offset = sum(len(part) + 1 for part in place.block.data.split(b"\n", line)[:line])
    return refusal(code, message, raw, place.of(line, offset))


def _records(data: bytes, dialect: Dialect) -> list[Record]:
    """All rows of a block with their places, in Python."""
    lines = data.split(b"\n")
    reader = _reader(data.decode(), dialect)
    records, line, offset = [], 0, 0
    for row in reader:
        end = reader.line_num
        length = sum(len(part) + 1 for part in lines[line:end])
        if row:
            records.append(Record(line, len(row), offset, length))
        line, offset = end, offset + length
    return records


def _reader(text: str, dialect: Dialect) -> Any:
    lines = io.StringIO(text, newline="\n")
    if not dialect.quote:
        return csv.reader(lines, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote)


def _distinct(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found
