"""What lanes and steps share: opened once, late, and closed when the flow has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflare import Batch, processor, resource, sink, source
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

events: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    events.clear()


@resource
def pool(*, size: int = 1) -> Iterator[list[int]]:
    """A pool of connections."""
    events.append(f"open {size}")
    yield [size]
    events.append(f"close {size}")


@source
def numbers(position: int = 0) -> Any:
    """Ten numbers."""
    for n in range(position, 10):
        yield {"n": [n]}, n + 1


@processor
def pooled(batch: Batch, pool: list[int]) -> Batch:
    """Counts its calls in the pool."""
    pool.append(len(batch))
    return batch


@sink
def out(batch: Batch, pool: list[int]) -> None:
    """Counts its calls there too."""
    pool.append(len(batch))
    events.append(f"calls {len(pool) - 1}")


def test_a_resource_is_one_for_all_lanes_and_steps_with_the_same_settings(
    flow: Flow, run: Callable[..., Outcome]
) -> None:
    flow.source("numbers", numbers).step("pooled", pooled, lanes=3).sink("out", out)
    assert run(flow).status == "finished"
    assert [event for event in events if not event.startswith("calls")] == ["open 1", "close 1"]
    assert events[-1] == "close 1"
    assert "calls 20" in events


def test_other_settings_are_another_resource(flow: Flow, run: Callable[..., Outcome]) -> None:
    flow.source("numbers", numbers).step("pooled", pooled, size=5).sink("out", out)
    assert run(flow).status == "finished"
    assert sorted(event for event in events if event.startswith("open")) == ["open 1", "open 5"]
    assert sorted(event for event in events if event.startswith("close")) == ["close 1", "close 5"]
