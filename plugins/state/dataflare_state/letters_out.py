"""``dataflare dlq query | export``: dead letters for SQL, and as files for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataflare import command, field
from dataflare.checkpoint import Letter, LetterStatus
from dataflare.errors import ConfigError
from dataflare.json_rows import to_json_rows
from dataflare_state.durable import write_file
from dataflare_state.letter_tables import letters_table, rows_table
from dataflare_state.opening import kept_of

if TYPE_CHECKING:
    import pyarrow as pa

Json = Any
LETTERS = "letters"
CLOSED: Mapping[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""No files, no network, no variables of this program."""
Format = Literal["jsonl", "parquet", "arrow"]
_OF_SUFFIX: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".arrow": "arrow"}


@command(group="dlq", name="dlq.query")
def query(host: Any, flow: Path, sql: str) -> Json:
    """Ask dead letters in SQL: the view `letters`, and for each step a view of its name with the rows it refused.

    Rows have their own columns, and `_letter`, `_code`, `_message`, `_status` and more of their letter. Letters of
    every status are there. The SQL can only read, and reaches neither files nor the network.
    """
    with kept_of(host, flow) as kept:
        letters = list(kept.store.letters(kept.flow, status=None))
    return _asked(sql, letters)


@command(group="dlq", name="dlq.export")
def export(
    host: Any,
    flow: Path,
    *,
    to: Path = field(help="The file to write; one that is there is replaced."),
    format: Format | None = field(default=None, help="By default as the file's name ends."),
    step: str | None = field(default=None, help="Only what this step refused."),
    code: str | None = field(default=None, help="Only what was refused for this reason."),
    status: LetterStatus = field(default="waiting", help="waiting, replayed or dropped."),
) -> Json:
    """Write dead letters to a file: each refused row with its columns, and with why and where it was refused."""
    chosen = format or _OF_SUFFIX.get(to.suffix)
    if chosen is None:
        raise ConfigError.of(
            "letter.format", f"`{to.name}` does not tell a format", fix="say --format jsonl, parquet or arrow"
        )
    with kept_of(host, flow) as kept:
        letters = list(kept.store.letters(kept.flow, step=step, code=code, status=status))
    steps = _by_step(letters)
    if chosen != "jsonl" and len(steps) > 1:
        raise ConfigError.of(
            "letter.steps",
            f"a {chosen} file has the columns of one step, and {len(steps)} refused rows: {', '.join(steps)}",
            fix="choose one with --step, or write jsonl",
        )
    tables = {name: rows_table(found) for name, found in steps.items()}
    try:
        _write(to, chosen, tables)
    except OSError as error:
        raise ConfigError.of("cli.not_written", f"`{to}` cannot be written", cause=str(error)) from error
    rows = sum(table.num_rows for table in tables.values())
    return {"flow": kept.flow, "to": str(to), "format": chosen, "letters": len(letters), "rows": rows}


def _asked(sql: str, letters: list[Letter]) -> list[dict[str, Any]]:
    import duckdb

    views = {name if name != LETTERS else f"{LETTERS}_rows": rows_table(of) for name, of in _by_step(letters).items()}
    with duckdb.connect(":memory:", config=dict(CLOSED)) as connection:
        for name, table in {LETTERS: letters_table(letters), **views}.items():
            connection.register(name, table)
        connection.execute("set lock_configuration = true")
        try:
            statements = connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise ConfigError.of(
                    "letter.query",
                    "that is not one query",
                    fix=f"write one `select … from {LETTERS}`, and nothing else",
                )
            found = _with_integers(connection.sql(statements[0]).to_arrow_table())
        except duckdb.Error as error:
            names = ", ".join(f"`{name}`" for name in (LETTERS, *views))
            raise ConfigError.of(
                "letter.query",
                "the query is wrong, or asks for what it may not have",
                cause=str(error),
                fix=f"the views are {names}; `describe {LETTERS}` shows columns",
            ) from error
    return [row for batch in found.to_batches() for row in to_json_rows(batch)]


def _with_integers(table: pa.Table) -> pa.Table:
    """DuckDB sums integers to 128 bits, which JSON could only show as text; nearly all fit into 64."""
    import pyarrow as pa

    for index, name in enumerate(table.column_names):
        kind = table.schema.field(index).type
        if pa.types.is_decimal(kind) and kind.scale == 0:
            try:
                table = table.set_column(index, name, table.column(index).cast(pa.int64()))
            except pa.ArrowInvalid:
                continue
    return table


def _by_step(letters: Iterable[Letter]) -> dict[str, list[Letter]]:
    steps: dict[str, list[Letter]] = {}
    for letter in letters:
        steps.setdefault(letter.step, []).append(letter)
    return steps


def _write(to: Path, format: Format, tables: dict[str, pa.Table]) -> None:
    """The whole file or none: written aside, then named."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.BufferOutputStream()
    if format == "jsonl":
        for step, table in tables.items():
            for batch in table.to_batches():
                for row in to_json_rows(batch):
                    content.write(f"{json.dumps({'_step': step, **row}, ensure_ascii=False)}\n".encode())
    else:
        table = next(iter(tables.values()), pa.table({}))
        if format == "parquet":
            pq.write_table(table, content)
        else:
            with pa.ipc.new_file(content, table.schema) as writer:
                writer.write_table(table)
    aside = to.with_name(f".{to.name}.part")
    aside.unlink(missing_ok=True)
    try:
        write_file(aside, content.getvalue().to_pybytes())
        aside.replace(to)
    finally:
        aside.unlink(missing_ok=True)
