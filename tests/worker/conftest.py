"""Guests in processes: plugins that lie here, run by this interpreter's environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worker.processes import HERE, Guest

from dataflare_worker.process import Launch


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Environments of the tests are not those of the person who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATAFLARE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def start() -> Iterator[Callable[..., Guest]]:
    """Starts guests that end with the test."""
    started: list[Guest] = []

    def make(target: str = "hostile", path: Path = HERE, **more: Any) -> Guest:
        started.append(Guest(Launch("odd-plugin", Path(sys.executable), [target], [path], **more)))
        return started[-1]

    yield make
    for guest in started:
        guest.transport.close()
