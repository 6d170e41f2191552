"""SIGKILL at every place that a run passes, and again while it recovers: each sink keeps what its plan promised."""

from __future__ import annotations

import pytest
from crash_flows import SHAPES, SINKS, content, flow, making

from dataflare.testing import crash_suite

STORES = ("file", "sqlite")


def suites() -> dict[str, type]:
    """A suite for each shape and store, with all kinds of sinks at once: a kill hits every one of them."""
    return {
        f"Test{shape.title()}{store.title()}": crash_suite(
            making(flow(shape, store, SINKS)), content, flow=shape, store=store
        )
        for shape in SHAPES
        for store in STORES
    }


globals().update(suites())


def test_the_matrix_is_not_empty(request: pytest.FixtureRequest) -> None:
    assert len(suites()) == len(SHAPES) * len(STORES)
