"""The conformance suite of sinks on the SQL sink, in each mode and database."""

from __future__ import annotations

from typing import Any

import pytest
from databases import Place

from dataflare.testing import sink_suite
from dataflare_std.sql.sink import Sql
from dataflare_std.sql.upsert import Upsert as AtOnce

ROWS = [{"id": 1, "t": 10.5, "l": "a"}, {"id": 2, "t": None, "l": None}, {"id": 3, "t": 30.0, "l": ""}]

Append: Any = sink_suite(Sql, ROWS, table="readings")
Upsert: Any = sink_suite(Sql, ROWS, table="readings", mode="upsert", key=["id"])

Direct: Any = sink_suite(AtOnce, ROWS, table="readings", key=["id"])


class TestAppend(Append):
    """Rows that are added."""

    @pytest.fixture(autouse=True)
    def _in_a_database(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "config", {**Append.config, "uri": place.uri})


class TestUpsert(Upsert):
    """Rows that replace those with their key."""

    @pytest.fixture(autouse=True)
    def _in_a_database(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "config", {**Upsert.config, "uri": place.uri})


class TestDirect(Direct):
    """Rows that replace those with their key, at once."""

    @pytest.fixture(autouse=True)
    def _in_a_database(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "config", {**Direct.config, "uri": place.uri})
