"""Stores to try, and small makers of what they keep."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import postgres as pg
import pytest

from dataflare.context import Context
from dataflare.store import Store
from dataflare.testing.store_kept import change as change
from dataflare.testing.store_kept import checkpoint as checkpoint
from dataflare.testing.store_kept import held as held
from dataflare.testing.store_kept import letter as letter
from dataflare_host import Host

KINDS = ["memory", "file", "sqlite", "postgres"]
SERVERS: list[pg.Postgres] = []
KEY = "DATAFLARE_STATE_TEST_KEY"
os.environ[KEY] = base64.b64encode(bytes(range(32))).decode()
LAYERS = [{"uses": "state/zstd"}, {"uses": "state/aes-gcm", "with": {"keyring": {
    "uses": "state/keyring-env", "with": {"variables": [KEY]}}}}]  # fmt: skip


@cache
def host() -> Host:
    """A host with the installed plugins."""
    return Host.start()


def config_of(kind: str, base: Path) -> dict[str, Any]:
    """The configuration of a store of that kind: for PostgreSQL, a schema for each ``base``."""
    if not kind.endswith("postgres"):
        return {}
    return {"dsn": SERVERS[-1].database("stores"), "schema": hashlib.sha256(str(base).encode()).hexdigest()[:40]}


def open_store(kind: str, base: Path, **config: Any) -> Store:
    """An open store of that kind under ``base``; two of the same kind and base share what they keep.

    ``sealed-sqlite`` is SQLite under layers that compress and encrypt.
    """
    sealed, _, below = kind.rpartition("-")
    given = {**config_of(kind, base), **config}
    store = host().store({"uses": f"state/{below}", "with": given, "layers": LAYERS if sealed else []}, base)
    store.open(Context(base=base))
    return store


def kind_of(request: pytest.FixtureRequest) -> str:
    """A parameter that names a store; a server is started for the one that needs it."""
    if request.param.endswith("postgres"):
        SERVERS.append(request.getfixturevalue("postgres_server"))
    return str(request.param)


@pytest.fixture(params=[*KINDS, *(f"sealed-{kind}" for kind in KINDS)])
def kind(request: pytest.FixtureRequest) -> str:
    return kind_of(request)


@pytest.fixture
def opened(kind: str, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one more store on the same place."""
    stores: list[Store] = []

    def another() -> Store:
        stores.append(open_store(kind, tmp_path))
        return stores[-1]

    yield another
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()
