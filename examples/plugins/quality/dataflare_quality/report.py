"""The tool: reads a file, looks at each column, and says what is wrong, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from dataflare import ConfigError, Context, field, tool
from dataflare_quality.columns import findings

Json = Any


@tool
def report(
    path: str,
    key: list[str] | None = None,
    ctx: Context | None = None,
    *,
    gaps: float = field(default=0.05, ge=0, le=1, help="The share of values that may be missing in a column."),
    spread: float = field(default=5.0, gt=0, help="How many quartile distances away a number is an outlier."),
) -> Iterator[Json]:
    """How good the data of a CSV, JSON lines or Parquet file is: a score from 0 to 1, and what was found where.

    ``key``: the columns that tell rows apart; by default the whole row.
    """
    table = _read((ctx.path(path) if ctx else Path(path)), path)
    _check(table, key or [])
    found: list[Json] = []
    for number, name in enumerate(table.columns, 1):
        found += findings(table[name], gaps=gaps, spread=spread)
        yield {"columns": number, "of": table.width}
    doubled = _doubled(table, key or table.columns)
    if doubled:
        what = "rows with a key that was there before" if key else "rows that were there before"
        found.append({"kind": "duplicates", "rows": doubled, "what": what})
    found.sort(key=lambda each: (-each["rows"], each.get("column", "")))
    bad = sum(each["rows"] for each in found) / max(1, table.height * max(1, table.width))
    yield {
        "rows": table.height,
        "columns": table.width,
        "score": round(max(0.0, 1.0 - bad), 4),
        "findings": found,
    }


def _read(file: Path, given: str) -> pl.DataFrame:
    readers = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".ndjson": pl.read_ndjson, ".parquet": pl.read_parquet}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        known = ", ".join(readers)
        raise ConfigError.of("quality.format", f"`{given}` is of an unknown form", pointer="/path", fix=f"give {known}")
    try:
        return reader(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        message = f"`{given}` cannot be read"
        raise ConfigError.of("quality.unreadable", message, pointer="/path", cause=str(error)) from error


def _check(table: pl.DataFrame, key: list[str]) -> None:
    unknown = [name for name in key if name not in table.columns]
    if unknown:
        fix = f"it has {', '.join(table.columns)}"
        raise ConfigError.of("quality.key", f"there is no column `{unknown[0]}`", pointer="/key", fix=fix)


def _doubled(table: pl.DataFrame, columns: list[str]) -> int:
    return table.height - table.select(columns).n_unique() if table.height else 0
