"""``profile``: what the columns of some rows are like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataflare import ConfigError, Context, Tool

if TYPE_CHECKING:
    import duckdb

READERS = {"jsonl": "read_json(?, format = 'newline_delimited')", "csv": "read_csv(?)", "parquet": "read_parquet(?)"}
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
NUMBERS = frozenset(
    f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
)
NUMBERS |= {"FLOAT", "DOUBLE", "DECIMAL"}


class Profile(Tool):
    """Show what the columns of a file or of some rows are like: type, nulls, distinct, range, mean, top values."""

    def call(
        self,
        path: str | None = None,
        format: Literal["jsonl", "csv", "parquet"] | None = None,
        rows: list[dict[str, Any]] | None = None,
        top: int = 5,
        *,
        ctx: Context,
    ) -> Iterator[dict[str, Any]]:
        """Profile the file ``path`` (globs work; the format is told by its suffix) or the given ``rows``.

        ``distinct`` is an estimate (about 2 % off), ``top`` says how many of the most frequent values are shown.
        Raises ConfigError (``profile.*``).
        """
        import duckdb

        if rows == [] and path is None:
            yield {"rows": 0, "columns": []}
            return
        with duckdb.connect() as connection:
            _load(connection, ctx, path, format, rows)
            described = connection.execute("DESCRIBE SELECT * FROM given").fetchall()
            count = _one(connection, "SELECT count(*) FROM given")[0]
            columns = []
            for done, (name, kind, *_) in enumerate(described):
                yield {"done": done, "total": len(described), "unit": "columns"}
                columns.append(_column(connection, name, kind, count, top))
            yield {"rows": count, "columns": columns}


def _load(
    connection: duckdb.DuckDBPyConnection,
    ctx: Context,
    path: str | None,
    format: str | None,
    rows: list[dict[str, Any]] | None,
) -> None:
    """Make the rows the view or table ``given``."""
    import duckdb

    if (path is None) == (rows is None):
        raise ConfigError.of(
            "profile.input", "say either `path` or `rows`", fix="for example `path=data/readings.jsonl`"
        )
    if rows is not None:
        from dataflare.rows import to_record_batch

        connection.register("given", to_record_batch(rows))
        return
    file = str(ctx.path(path or ""))
    reader = READERS.get(format or SUFFIXES.get(Path(file).suffix.lower(), ""))
    if reader is None:
        raise ConfigError.of(
            "profile.format",
            f"the suffix of {file} does not tell its format",
            pointer="/format",
            fix="say `format=csv`",
        )
    try:
        connection.execute(f"CREATE VIEW given AS SELECT * FROM {reader.replace('?', _literal(file))}")
    except duckdb.Error as error:
        raise ConfigError.of(
            "profile.unreadable", f"{file} cannot be read", pointer="/path", cause=str(error).splitlines()[0]
        ) from error


def _column(connection: duckdb.DuckDBPyConnection, name: str, kind: str, count: int, top: int) -> dict[str, Any]:
    column = '"' + name.replace('"', '""') + '"'
    plain = not kind.endswith("]") and not kind.startswith(("STRUCT", "MAP", "UNION"))
    number = plain and kind.partition("(")[0] in NUMBERS
    shown = _shown(kind, plain)
    ends = f"{shown(f'min({column})')}, {shown(f'max({column})')}" if plain else "NULL, NULL"
    mean_of = f"avg({column})" if number else "NULL"
    values, distinct, lowest, highest, mean = _one(
        connection, f"SELECT count({column}), approx_count_distinct({column}), {ends}, {mean_of} FROM given"
    )
    frequent = connection.execute(
        f"SELECT {shown(column)}, count(*) AS times FROM given WHERE {column} IS NOT NULL "
        f"GROUP BY {column} ORDER BY times DESC, 1 LIMIT {max(top, 0)}"
    ).fetchall()
    return {
        "name": name,
        "type": kind,
        "nulls": count - values,
        "distinct": min(distinct, values),
        "min": lowest,
        "max": highest,
        "mean": mean,
        "top": [{"value": value, "rows": times} for value, times in frequent],
    }


def _shown(kind: str, plain: bool) -> Callable[[str], str]:
    """How a value is fetched. Instants are fetched as text: as Python values they would need another package."""
    if "TIME ZONE" not in kind:
        return lambda value: value
    if plain and kind.startswith("TIMESTAMP"):
        return lambda value: f"strftime(make_timestamp(epoch_us({value})), '%Y-%m-%dT%H:%M:%S.%fZ')"
    return lambda value: f"CAST({value} AS VARCHAR)"


def _one(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[Any, ...]:
    return connection.execute(text).fetchall()[0]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
