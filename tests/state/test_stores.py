"""What every store promises, tried on each of them, plain and under layers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from dataflare.testing.store_suite import StoreSuite
from dataflare_state import region as file_region

from .conftest import open_store


class TestStores(StoreSuite):
    """The suite, for each kind of store."""

    @pytest.fixture(autouse=True)
    def _of_kind(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "start", partial(open_store, kind), raising=False)
        monkeypatch.setattr(type(self), "examples", 4 if "postgres" in kind else 15, raising=False)
        monkeypatch.setattr(file_region, "BASE_EVERY", 3)  # so that it tidies up often


def test_nothing_is_made_by_looking(kind: str, tmp_path: Path) -> None:
    reader = open_store(kind, tmp_path)
    reader.load("f", "r")
    reader.flows()
    reader.close()
    assert list(tmp_path.iterdir()) == []
