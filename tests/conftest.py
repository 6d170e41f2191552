"""Hypothesis without deadlines, since a busy machine is not a failure; a PostgreSQL server for those who ask."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
import postgres as pg

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's job in the background: so would all that tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("dataflare", deadline=None)
settings.load_profile("dataflare")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[pg.Postgres]:
    """A PostgreSQL server for the whole session."""
    with pg.server() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: pg.Postgres) -> str:
    """The address of an empty PostgreSQL database."""
    return postgres_server.create(pg.fresh_name())
