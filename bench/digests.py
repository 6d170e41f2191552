"""What a run wrote, as a row count and an order-free digest of its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path


def json_lines(pattern: str, columns: str) -> object:
    """A reader of the JSON lines that match ``pattern`` in a result folder: rows, and a digest of ``columns``.

    The digest is the sum of the rows' hashes modulo 2^64, so the order of the rows does not matter.
    """

    def read(folder: Path) -> tuple[int, str]:
        import duckdb

        files = [str(path) for path in sorted(folder.glob(pattern)) if path.is_file()]
        with duckdb.connect() as connection:
            found = connection.execute(
                f"select count(*), sum(hash({columns})::hugeint) % 18446744073709551616::hugeint "
                "from read_json(?, columns = {id: 'BIGINT', ts: 'TIMESTAMPTZ', device: 'VARCHAR', "
                "temperature: 'DOUBLE', humidity: 'DOUBLE', status: 'VARCHAR', tags: 'VARCHAR[]', "
                "site: 'STRUCT(name VARCHAR, line INTEGER)', fahrenheit: 'DOUBLE'})",
                [files],
            ).fetchone()
        assert found is not None
        return int(found[0]), f"{int(found[1] or 0):016x}"

    return read


def last_number(folder: Path) -> tuple[int, str]:
    """The count that a contender printed last, or that a flow's summary tells for its sink."""
    for line in reversed(_lines(folder / "log")):
        if line.startswith("{"):
            return int(json.loads(line)["rows"]["written"]), ""
        if line.strip().isdigit():
            return int(line), ""
    raise SystemExit(f"no count in {folder / 'log'}")


def _lines(path: Path) -> list[str]:
    return list(_text(path))


def _text(path: Path) -> Iterable[str]:
    return path.read_text().splitlines()
