"""An empty database of each kind that the SQL sink writes to."""

from __future__ import annotations

from pathlib import Path

import databases
import pytest


@pytest.fixture(params=["sqlite", "postgresql", "duckdb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> databases.Place:
    """An empty database of each kind."""
    if request.param == "postgresql":
        return databases.postgres_place(request.getfixturevalue("postgres_server"))
    if request.param == "duckdb":
        return databases.duckdb_place(tmp_path)
    return databases.sqlite_place(tmp_path)
