"""Dead letters as Arrow tables: the letters themselves, and for each step the rows that it refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dataflare.checkpoint import Letter

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT = (
    *("id", "step", "input", "code", "message", "plugin", "split", "place"),
    *("epoch", "count", "attempts", "status", "at"),
)
"""The columns of a letter; ``place`` is JSON text."""
NUMBERS = ("id", "epoch", "count", "attempts")
OF_A_ROW = ("id", "code", "message", "split", "place", "epoch", "attempts", "status", "at")
"""What each refused row says of its letter: ``_letter`` is its id, the others stand as ``_code`` and so on."""


def letters_table(letters: Iterable[Letter]) -> pa.Table:
    """A row for each letter, without the rows that were refused."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.int64() if name in NUMBERS else pa.string()) for name in ABOUT])
    return pa.Table.from_pylist([{name: _told(letter, name) for name in ABOUT} for letter in letters], schema)


def rows_table(letters: Iterable[Letter]) -> pa.Table:
    """The refused rows of one step with their own columns, behind those that tell of their letter.

    Columns that changed their type from letter to letter, and cannot be united, are text.
    """
    import pyarrow as pa

    tables = []
    for letter in letters:
        rows = pa.ipc.open_stream(letter.rows).read_all()
        told = {_column(name): pa.repeat(pa.scalar(_told(letter, name)), rows.num_rows) for name in OF_A_ROW}
        own = {name: column for name, column in zip(rows.column_names, rows.columns, strict=True) if name not in told}
        tables.append(pa.table({**told, **own}))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.concat_tables([_as_text(table) for table in tables], promote_options="permissive")


def _column(name: str) -> str:
    return "_letter" if name == "id" else f"_{name}"


def _told(letter: Letter, name: str) -> Any:
    value = getattr(letter, name)
    return json.dumps(value, ensure_ascii=False) if name == "place" else value


def _as_text(table: pa.Table) -> pa.Table:
    """The rows' own columns as text, those with more than one value as JSON."""
    import pyarrow as pa

    from dataflare.json_values import json_values

    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not name.startswith("_"):
            values = [value for chunk in column.chunks for value in json_values(chunk)]
            texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
            column = pa.array(texts, pa.string())
        columns[name] = column
    return pa.table(columns)
