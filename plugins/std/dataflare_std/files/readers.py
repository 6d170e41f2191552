"""The readers of line formats behind one face, and what a sample of a file teaches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from dataflare_std.files import csv_lines, json_learn, parquet
from dataflare_std.files.csv_lines import CsvLines, Dialect
from dataflare_std.files.jsonl import JsonLines
from dataflare_std.files.listing import Listed, open_file
from dataflare_std.files.parsing import Parsed, Place

if TYPE_CHECKING:
    import pyarrow as pa

HEAD = 256 << 10


class LineReader(Protocol):
    """Parses blocks of one kind of file; ``start`` is where its first row begins."""

    start: int

    def parse(self, place: Place) -> Parsed:
        """The rows of a block."""

    def close(self) -> None:
        """Let go of the parser."""


class JsonReader:
    """Reads JSON lines of any file."""

    start = 0

    def __init__(self, schema: pa.Schema, fixed: bool) -> None:
        self._lines = JsonLines(schema, fixed=fixed)

    def parse(self, place: Place) -> Parsed:
        """The rows of a block."""
        return self._lines.parse(place)

    def close(self) -> None:
        """Let go of the parser."""
        self._lines.close()


class CsvReader:
    """Reads the rows of one CSV file, whose header names the columns."""

    def __init__(self, schema: pa.Schema, fixed: bool, dialect: Dialect, file: int, named: bool) -> None:
        head = os.pread(file, HEAD, 0)
        self.start = csv_lines.header_length(head, dialect)
        self._names = schema.names if named and not dialect.header else csv_lines.names_in(head, dialect)
        self._lines = CsvLines(schema, dialect, fixed=fixed)

    def parse(self, place: Place) -> Parsed:
        """The rows of a block."""
        return self._lines.parse(place, self._names)

    def close(self) -> None:
        """Nothing is held."""


def line_reader(form: str, schema: pa.Schema, fixed: bool, dialect: Dialect, file: int, named: bool) -> LineReader:
    """The reader of a format. ``fixed``: only these columns are read; ``named``: the operator named them."""
    return CsvReader(schema, fixed, dialect, file, named) if form == "csv" else JsonReader(schema, fixed)


def sampled_columns(listed: Listed, form: str, dialect: Dialect, budget: int) -> list[pa.Field]:
    """The columns that the first ``budget`` bytes of a file show; a Parquet file tells all of them."""
    if form == "parquet":
        with parquet.opened(listed.path, listed.name) as file:
            return list(file.schema_arrow)
    pieces, head = _pieces(listed, budget)
    if form == "jsonl":
        return json_learn.learn(b"".join(pieces))
    names = csv_lines.names_in(head, dialect)
    start = csv_lines.header_length(head, dialect)
    sample = pieces[0][start:] if dialect.multiline else b"".join([pieces[0][start:], *pieces[1:]])
    return csv_lines.learn(sample, names, dialect)


def _pieces(listed: Listed, budget: int) -> tuple[list[bytes], bytes]:
    """Whole lines of a file: its beginning, and for the rest of the budget a few places further on; and its head."""
    file = open_file(listed.path, listed.name)
    try:
        head = os.pread(file, budget // 2, 0)
        if len(head) < budget // 2:
            return [head], head
        pieces = [head[: head.rfind(b"\n") + 1]]
        for number in range(1, 5):
            data = os.pread(file, budget // 8, max(len(head), listed.size * number // 5))
            pieces.append(data[data.find(b"\n") + 1 : data.rfind(b"\n") + 1])
        return pieces, head
    finally:
        os.close(file)
