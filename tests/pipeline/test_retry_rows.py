"""A sink that asks for the rest of a batch again gets the rest, and each row is written once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare import Batch, Reject, Retry, sink, source
from dataflare.batch import Rejected
from dataflare.errors import Problem
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome
from dataflare_pipeline.circuit import Circuit
from dataflare_pipeline.guard import Guard
from dataflare_pipeline.policy import Policy

out: list[int] = []
sizes: list[int] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    out.clear()
    sizes.clear()


@source
def numbers(position: int = 0) -> Any:
    """A hundred numbers, ten at a time."""
    for start in range(position, 100, 10):
        yield {"n": list(range(start, start + 10))}, start + 10


@sink
def threes(batch: Batch, *, how: str = "mask") -> None:
    """Takes three rows at a time."""
    sizes.append(len(batch))
    out.extend(batch.to_columns()["n"][:3])
    if len(batch) > 3:
        later = [index >= 3 for index in range(len(batch))]
        raise Retry(0.0, "three at a time", rows=later if how == "mask" else batch.filter(later))


@pytest.mark.parametrize("how", ["mask", "batch"])
def test_only_the_rest_is_repeated_and_progress_is_no_failure(
    flow: Flow, run: Callable[..., Outcome], how: str
) -> None:
    flow.source("numbers", numbers).sink("threes", threes, how=how, on_error={"retry": {"attempts": 1, "delay": 0.001}})
    outcome = run(flow)
    assert outcome.status == "finished", outcome.problems
    assert outcome.written == 100
    assert out == list(range(100))
    assert sizes == [10, 7, 4, 1] * 10


def test_rows_refused_on_the_way_are_those_of_the_batch(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    @sink(each="row")
    def picky(row: dict[str, Any]) -> None:
        """Refuses 5 and 17; asks for time once, at 7."""
        if row["n"] in (5, 17):
            raise Reject("odd_one", "not this one")
        if row["n"] == 7 and 7 not in sizes:
            sizes.append(7)
            raise Retry(0.0, "a moment")
        out.append(row["n"])

    flow.source("numbers", numbers).sink("picky", picky)
    outcome = run(flow)
    assert (outcome.written, outcome.rejected) == (98, 2)
    assert out == [n for n in range(100) if n not in (5, 17)]
    letters = [pa.ipc.open_stream(letter.rows).read_all()["n"].to_pylist() for letter in store(flow).letters("t")]
    assert letters == [[5], [17]]


def test_a_rest_that_cannot_be_told_is_the_sinks_failure(flow: Flow, run: Callable[..., Outcome]) -> None:
    @sink
    def vague(batch: Batch) -> None:
        """Names rows that nobody knows."""
        raise Retry(0.0, rows=[{"n": 1}])

    flow.source("numbers", numbers).sink("vague", vague)
    outcome = run(flow)
    assert outcome.problems[0].code == "step.retry_rows"
    assert outcome.problems[0].details["step"] == "vague"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data(), poison=st.sets(st.integers(0, 19), max_size=6))
def test_however_a_sink_gets_on_each_row_is_written_or_refused_once(data: Any, poison: set[int]) -> None:
    written: list[int] = []

    def write(batch: Batch) -> list[Any]:
        """Writes some rows, then breaks, asks for the rest, or is done; refuses every tenth."""
        values = batch.to_columns()["n"]
        done = data.draw(st.integers(0, len(values)))
        for index, n in enumerate(values[:done]):
            if n in poison:
                rest = [later >= index for later in range(len(values))]
                written.extend(m for m in values[:index] if m % 10)
                raise Retry(0.0, "poison", rows=[keep or values[at] % 10 == 0 for at, keep in enumerate(rest)])
        if done < len(values):
            written.extend(m for m in values[:done] if m % 10)
            mask = [later >= done or values[later] % 10 == 0 for later in range(len(values))]
            raise Retry(0.0, "later", rows=mask)
        written.extend(m for m in values if m % 10)
        tenths = [index for index, n in enumerate(values) if n % 10 == 0]
        return [Rejected(pa.array(tenths, pa.int64()), "tenth", "")] if tenths else []

    def note(problem: Problem | None) -> None:
        pass

    guard = Guard("s", Policy("retry", attempts=2, delay=0.0, then="dead_letter"), Circuit(), threading.Event(), note)
    batch = Batch.of({"n": list(range(20))})
    rejected: list[Any] = []
    rejected += guard.rows(batch, write, rejected.extend, partly=True)
    refused = [row for entry in rejected for row in entry.rows.to_pylist()]
    assert sorted(refused) == sorted(set(refused))
    assert sorted([*written, *refused]) == list(range(20))
    assert {0, 10} <= set(refused)
    assert poison <= set(refused) | set(written)
