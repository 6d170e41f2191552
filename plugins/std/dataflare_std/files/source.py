"""The source `files`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.component import Source
from dataflare.config import field
from dataflare.context import Context
from dataflare.errors import ConfigError, DataflareError, Failed, Problem
from dataflare.schema import Schema
from dataflare.split import Demand, Idle, Json, Refused, Split
from dataflare.types import Bytes, Columns
from dataflare_std.files import parquet
from dataflare_std.files.blocks import Block, Lines, QuotedLines, Room, TooLong
from dataflare_std.files.columns import grown, schema_of_words
from dataflare_std.files.csv_lines import Dialect
from dataflare_std.files.listing import (
    FORMATS,
    Listed,
    changed,
    fingerprint,
    format_of,
    list_files,
    open_file,
    verify,
)
from dataflare_std.files.parsing import Parsed, Place, refusal
from dataflare_std.files.readers import LineReader, line_reader, sampled_columns

if TYPE_CHECKING:
    import pyarrow as pa

RANGE = 32 << 20
LAST_RANGES = RANGE // 4
ROWS = 65_536
POLL = 0.1
_MARK = 3
"""Bytes of a mark at the beginning of a UTF-8 file: the first range must reach behind it."""


def _may_be_csv(config: Mapping[str, Any]) -> bool:
    return config.get("format") in (None, "csv")


class Files(Source[dict[str, Any]], replay="position"):
    """Reads files: JSON lines, CSV or Parquet.

    Large files are read in ranges by several lanes; order holds inside a range (`ordered: true`: inside a file). A line
    that is no row is refused with its file, line and offset. Positions name a byte (Parquet: a row) and recognise the
    file, so that a file which was replaced or has shrunk is refused, not read again.
    """

    path: Columns = field(help="A file, a folder, a glob, or a list of these; relative to the flow file.")
    format: str | None = field(default=None, choices=FORMATS, help="By default told from the file's name.")
    schema: dict[str, Any] | None = field(default=None, help="{column: type}; by default learned from a sample.")
    columns: Columns | None = field(default=None, help="Read only these columns.")
    follow: bool = field(default=False, help="Go on reading what is appended, and new files.")
    ordered: bool = field(default=False, help="Read each file in one piece, in order.")
    on_bad: str = field(default="reject", choices=("reject", "fail"), help="What a line that is no row does.")
    block: Bytes = field(default=8 << 20, ge=4096, advanced=True, help="Bytes parsed at a time.")
    split_size: Bytes | None = field(
        default=None, ge=1, advanced=True, help="Bytes of a range; by default 32 MiB, near the end of a file 8 MiB."
    )
    max_line: Bytes = field(default=16 << 20, ge=1, advanced=True, help="Longer lines are refused.")
    delimiter: str = field(default=",", when=_may_be_csv, min_length=1, max_length=1, help="What separates fields.")
    header: bool = field(default=True, when=_may_be_csv, help="The first row names the columns.")
    quote: str = field(default='"', when=_may_be_csv, max_length=1, help="What fields are quoted with; empty: nothing.")
    null: str = field(default="", when=_may_be_csv, help="The unquoted text that means no value.")
    multiline: bool = field(
        default=True, when=_may_be_csv, help="Quoted fields may hold newlines; then a file is one range."
    )

    def check(self, ctx: Context) -> Iterator[Problem]:
        try:
            for listed in self._listed(ctx):
                self._format(listed)
                os.close(open_file(listed.path, listed.name))
            self._given_schema()
        except DataflareError as error:
            yield from error.problems

    def plan(self, ctx: Context) -> Schema:
        """The schema given, or learned from a sample: the first file's beginning and the heads of some others."""
        listed = self._listed(ctx)
        if self.follow and any(self._format(item) == "parquet" for item in listed):
            raise ConfigError.of(
                "files.follow_parquet",
                "a Parquet file cannot be followed",
                pointer="/follow",
                cause="its directory is written last, so that it does not grow",
                fix="leave `follow` out",
            )
        schema = self._selected(self._planned(ctx, listed), None)
        return Schema(schema, open=not len(schema))

    # --- splits ----------------------------------------------------------------------------------

    def splits(self, ctx: Context, position: Json = None) -> Iterator[tuple[list[Split], Json]]:
        """Ranges not covered yet. The discovery position: file → bytes covered (-1: followed)."""
        covered: dict[str, int] = dict((position or {}).get("files", {}))
        while True:
            found: list[Split] = []
            for listed in self._listed(ctx):
                done = covered.get(listed.name)
                if done is None or 0 <= done < listed.size:
                    found += self._split(listed, done or 0)
                    covered[listed.name] = -1 if self.follow else listed.size
            yield found, {"files": dict(covered)}
            if not self.follow:
                return

    def _split(self, listed: Listed, start: int) -> list[Split]:
        form = self._format(listed)
        if form == "parquet":
            if start:
                raise changed(listed.name, "it has grown; a Parquet file is written once")
            return parquet.splits_of(listed, self.split_size or RANGE, self.ordered)
        file = open_file(listed.path, listed.name)
        try:
            if start and os.pread(file, 1, start - 1) != b"\n":
                raise changed(listed.name, "its last line was read without a newline, and has grown since")
            seen = fingerprint(file)
        finally:
            os.close(file)
        if self.follow:
            return [Split(f"{listed.name}#{start}-", {"file": listed.name}, {"offset": start, "fp": seen})]
        whole = self.ordered or (form == "csv" and self.multiline and bool(self.quote))
        return [
            Split(
                f"{listed.name}#{first}-{end}",
                {"file": listed.name, "end": end},
                {"offset": first, "fp": seen},
                size=end - first,
            )
            for first, end in self._ranges(start, listed.size, whole)
        ]

    def _ranges(self, start: int, size: int, whole: bool) -> Iterator[tuple[int, int]]:
        """The bytes of a file in ranges; the last ones are smaller, so that the lanes that share them end together."""
        while start < size:
            step = self.split_size or (RANGE if size - start > 2 * RANGE else LAST_RANGES)
            end = size if whole else min(start + max(_MARK + 1, step), size)
            yield start, end
            start = end

    # --- reading ---------------------------------------------------------------------------------

    def open(self, ctx: Context) -> None:
        self._readers: dict[Any, LineReader] = {}
        self._learned: pa.Schema | None = None
        self._room = Room()

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()

    def read(
        self,
        split: Split,
        demand: Demand,
        columns: frozenset[str] | None,
        ctx: Context,
        position: Json = None,
        schema: Schema | None = None,
    ) -> Iterator[Any]:
        if self._learned is None and schema is not None and len(schema):
            self._learned = schema.arrow
        at = dict(position or split.start)
        listed = Listed(split.data["file"], ctx.path(split.data["file"]), 0)
        if self._format(listed) == "parquet":
            return self._read_groups(listed, split, at, columns, ctx)
        return self._read_lines(listed, split, at, columns, demand, ctx)

    def _read_groups(
        self, listed: Listed, split: Split, at: dict[str, Any], columns: frozenset[str] | None, ctx: Context
    ) -> Iterator[Any]:
        wanted = self._selected(self._schema(ctx), columns)
        with parquet.opened(listed.path, listed.name) as file:
            present = file.schema_arrow.names
        here = set(present)
        names = [name for name in wanted.names if name in here]
        if columns is None and not self.columns and not self.schema:
            names = present
        for batch, position in parquet.read(listed.path, listed.name, split.data["groups"][1], at, names, ROWS):
            yield self._cast(batch, wanted, listed.name) if self.schema else batch, position

    def _cast(self, batch: pa.RecordBatch, wanted: pa.Schema, name: str) -> pa.RecordBatch:
        from dataflare.batch import Batch

        try:
            return Batch(batch).cast(wanted).arrow
        except ConfigError as error:
            raise Failed(*[problem.at(file=name) for problem in error.problems]) from error

    def _read_lines(
        self,
        listed: Listed,
        split: Split,
        at: dict[str, Any],
        columns: frozenset[str] | None,
        demand: Demand,
        ctx: Context,
    ) -> Iterator[Any]:
        file = open_file(listed.path, listed.name)
        try:
            stop: int | None = split.data.get("end")
            first: int = split.start["offset"]
            verify(file, listed.name, at["fp"], stop if stop is not None else at["offset"])
            quoted = self._format(listed) == "csv" and self.multiline and bool(self.quote)
            lines = (QuotedLines if quoted else Lines)(file, first, stop, self.max_line, self.follow, self._room)
            reader = self._reader(listed, file, columns, ctx)
            offset = at["offset"]
            if offset == first:
                offset = reader.start if first < reader.start else lines.first(first)
            yield from self._blocks(lines, reader, listed, offset, at["fp"], demand, stop)
        finally:
            os.close(file)

    def _blocks(
        self,
        lines: Lines,
        reader: LineReader,
        listed: Listed,
        offset: int,
        seen: dict[str, Any],
        demand: Demand,
        stop: int | None,
    ) -> Iterator[Any]:
        row_bytes = 0.0
        while True:
            size = min(self.block, self.max_line, max(4096, demand.bytes))
            if row_bytes:
                size = min(size, max(4096, int(row_bytes * min(ROWS, max(1, demand.rows)))))
            found = lines.block(offset, size)
            if found is None:
                if stop is None and self._waits(lines, listed, offset, seen):
                    yield Idle(POLL, {"offset": offset, "fp": seen})
                    continue
                if stop is not None and offset < stop:
                    raise changed(listed.name, f"it ended at byte {offset:,}; {stop:,} were there before")
                return
            parsed = self._parsed(found, lines, reader, listed)
            yield from self._refusals(parsed.refused)
            seen = self._seen(lines.file, seen)
            offset = found.end
            position = {"offset": offset, "fp": seen}
            if parsed.rows is None or not parsed.rows.num_rows:
                yield Idle(0.0, position)
                continue
            row_bytes = (found.end - found.start) / parsed.rows.num_rows
            yield parsed.rows, position

    def _parsed(self, found: Block | TooLong, lines: Lines, reader: LineReader, listed: Listed) -> Parsed:
        if isinstance(found, Block):
            return reader.parse(Place(listed.name, found, lines.number))
        length = found.end - found.start
        place = {"file": listed.name, "line": lines.number(found.start), "offset": found.start}
        message = f"a line of {length:,} bytes; allowed are {self.max_line:,} (`max_line`)"
        return Parsed(None, [refusal("files.line_too_long", message, found.head, place)])

    def _refusals(self, refused: list[Refused]) -> list[Refused]:
        if refused and self.on_bad == "fail":
            worst = refused[0]
            place = worst.place
            raise Failed.of(
                worst.code,
                worst.message,
                file=place["file"],
                line=place["line"],
                details=place,
                fix="correct the line and begin again with `--from-start`, "
                "or let `on_bad: reject` send such lines to the dead letters",
            )
        return refused

    def _waits(self, lines: Lines, listed: Listed, offset: int, seen: dict[str, Any]) -> bool:
        """True where a followed file may still grow. Raises Failed if it is no longer the same."""
        verify(lines.file, listed.name, seen, offset)
        try:
            there = os.stat(listed.path)
        except FileNotFoundError as error:
            raise changed(listed.name, "it is no longer there") from error
        if there.st_ino != os.fstat(lines.file).st_ino:
            raise changed(listed.name, "another file has taken its name (a rotation?)")
        return True

    def _seen(self, file: int, seen: dict[str, Any]) -> dict[str, Any]:
        """A better fingerprint, once a followed file has become longer than the one there is."""
        return fingerprint(file) if self.follow and seen["head"] < 4096 else seen

    # --- schema ----------------------------------------------------------------------------------

    def _listed(self, ctx: Context) -> list[Listed]:
        return list_files(self.path, ctx)

    def _format(self, listed: Listed) -> str:
        return format_of(listed.path, self.format)

    def _dialect(self, listed: Listed) -> Dialect:
        tabs = listed.path.suffix.lower() == ".tsv" and self.delimiter == ","
        delimiter = "\t" if tabs else self.delimiter
        return Dialect(delimiter, self.quote, self.header, self.null, self.multiline and bool(self.quote))

    def _given_schema(self) -> pa.Schema | None:
        return schema_of_words(self.schema) if self.schema else None

    def _planned(self, ctx: Context, listed: list[Listed]) -> pa.Schema:
        import pyarrow as pa

        given = self._given_schema()
        if given is not None:
            return given
        columns: list[pa.Field] = []
        for item, budget in _sampling(listed):
            columns = grown(columns, sampled_columns(item, self._format(item), self._dialect(item), budget))
        return pa.schema(columns)

    def _schema(self, ctx: Context) -> pa.Schema:
        if self._learned is None:
            self._learned = self._planned(ctx, self._listed(ctx))
        return self._learned

    def _selected(self, schema: pa.Schema, columns: frozenset[str] | None) -> pa.Schema:
        """Only the columns that are configured and read; at least one, so that rows can be counted."""
        import pyarrow as pa

        missing = [name for name in self.columns or () if name not in schema.names]
        if missing and self.schema:
            raise ConfigError.of(
                "files.unknown_column",
                f"there is no column `{missing[0]}`",
                pointer="/columns",
                cause=f"the columns are {', '.join(f'`{name}`' for name in schema.names)}",
                fix="correct `columns`",
            )
        known = {item.name: item for item in schema}
        chosen = [known.get(name) or pa.field(name, pa.null()) for name in self.columns or schema.names]
        read = [item for item in chosen if columns is None or item.name in columns]
        return pa.schema(read or chosen[:1])

    def _reader(self, listed: Listed, file: int, columns: frozenset[str] | None, ctx: Context) -> LineReader:
        """The reader for this kind of file; it keeps what it learns from range to range."""
        form = self._format(listed)
        narrow = columns is not None or bool(self.columns) or self.schema is not None
        key = (form, columns, listed.name if form == "csv" else "")
        if key not in self._readers:
            schema = self._selected(self._schema(ctx), columns)
            self._readers[key] = line_reader(form, schema, narrow, self._dialect(listed), file, self.schema is not None)
        return self._readers[key]


def _sampling(listed: list[Listed]) -> Iterator[tuple[Listed, int]]:
    """Which files a schema is learned from, and how many bytes of each."""
    first = [item for item in listed if item.size][:1]
    rest = [item for item in listed if item.size and item not in first]
    step = max(1, len(rest) // 8)
    for item in first:
        yield item, 512 << 10
    for item in rest[::step][:8]:
        yield item, 64 << 10
