"""What happens to rows that a step cannot take: refused, dropped, repeated, or the end of the flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare import Batch, Reject, Retry, processor, sink, source
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

out: list[int] = []
calls: list[int] = []
poison: set[int] = set()
mended = False


@pytest.fixture(autouse=True)
def fresh() -> None:
    global mended
    out.clear()
    calls.clear()
    poison.clear()
    mended = False


@source
def numbers(position: int = 0, *, count: int = 100, step: int = 10) -> Any:
    """Whole numbers."""
    for start in range(position, count, step):
        end = min(start + step, count)
        yield {"n": list(range(start, end))}, end


@processor
def picky(batch: Batch) -> Batch:
    """Refuses odd numbers that are poisoned, breaks on even ones."""
    values = batch.to_columns()["n"]
    calls.append(len(values))
    if not mended and any(n in poison for n in values):
        raise ValueError(f"cannot take {[n for n in values if n in poison]}")
    return batch


@processor
def strict(batch: Batch, *, least: int = 0) -> Batch:
    """Refuses what is below `least`."""
    if mended:
        return batch
    return batch.reject(pc.less(batch["n"], least), "too_small", f"`n` is below {least}")


@processor(each="row")
def rowwise(row: dict) -> dict | None:
    """Refuses poisoned rows by name."""
    if row["n"] in poison and not mended:
        raise Reject("poisoned", f"{row['n']} is poison")
    return row


@sink
def keep(batch: Batch) -> None:
    """Keeps the rows."""
    out.extend(batch.to_columns()["n"])


def letters(store: Store, **where: Any) -> list[tuple[str, str, int]]:
    return [(letter.step, letter.code, letter.count) for letter in store.letters("t", **where)]


def test_rejected_rows_become_letters_and_the_others_pass(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    flow.source("numbers", numbers).step("strict", strict, least=15).sink("keep", keep)
    outcome = run(flow)
    assert (outcome.status, outcome.read, outcome.written, outcome.rejected) == ("finished", 100, 85, 15)
    assert outcome.rejects == {"strict": {"too_small": 15}}
    assert out == list(range(15, 100))
    assert letters(store(flow)) == [("strict", "too_small", 10), ("strict", "too_small", 5)]


def test_a_failing_step_ends_the_flow_with_the_authors_line_as_the_cause(
    flow: Flow, run: Callable[..., Outcome]
) -> None:
    poison.add(42)
    flow.source("numbers", numbers).step("picky", picky).sink("keep", keep)
    outcome = run(flow)
    assert outcome.status == "failed"
    (problem,) = outcome.problems
    assert problem.code == "step.failed"
    assert "`picky` failed: cannot take [42]" in problem.message
    assert problem.cause is not None
    assert "test_policies.py" in problem.cause
    assert problem.details["step"] == "picky"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(bad=st.sets(st.integers(0, 99), max_size=12))
def test_bisecting_refuses_exactly_the_rows_that_cannot_pass(
    run: Callable[..., Outcome], store: Callable[[Flow], Store], tmp_path_factory: Any, bad: set[int]
) -> None:
    out.clear()
    poison.clear()
    poison.update(bad)
    flow = Flow("t", base=tmp_path_factory.mktemp("flow"))
    flow.source("numbers", numbers).step("picky", picky, on_error="dead_letter").sink("keep", keep)
    outcome = run(flow)
    assert outcome.status == "finished"
    assert sorted(out) == [n for n in range(100) if n not in bad]
    assert outcome.rejected == len(bad)
    assert sum(count for _, _, count in letters(store(flow))) == len(bad)


def test_dropped_rows_are_counted_and_not_kept(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    poison.update({3, 77})
    flow.source("numbers", numbers).step("picky", picky, on_error="drop").sink("keep", keep)
    outcome = run(flow)
    assert (outcome.written, outcome.rejected, outcome.dropped) == (98, 0, 2)
    assert letters(store(flow)) == []


def test_a_retry_repeats_only_the_failing_batch_and_keeps_the_order(flow: Flow, run: Callable[..., Outcome]) -> None:
    failures = {30: 2}

    @processor
    def flaky(batch: Batch) -> Batch:
        """Fails twice on one batch."""
        first = batch.to_columns()["n"][0]
        calls.append(first)
        if failures.get(first, 0):
            failures[first] -= 1
            raise ConnectionError("away")
        return batch

    retry = {"retry": {"attempts": 3, "delay": 0.001}, "then": "fail"}
    flow.source("numbers", numbers).step("flaky", flaky, on_error=retry).sink("keep", keep)
    assert run(flow).status == "finished"
    assert out == list(range(100))
    assert calls == [0, 10, 20, 30, 30, 30, 40, 50, 60, 70, 80, 90]


def test_retry_asked_for_by_a_source_reads_on_from_its_last_position(flow: Flow, run: Callable[..., Outcome]) -> None:
    asked: list[int] = []
    broken: list[int] = []

    @source
    def shaky(position: int = 0) -> Any:
        """Breaks once in the middle."""
        asked.append(position)
        for n in range(position, 6):
            if n == 3 and not broken:
                broken.append(n)
                raise Retry(0.001, "not yet")
            yield {"n": [n]}, n + 1

    flow.source("shaky", shaky).sink("keep", keep)
    assert run(flow).status == "finished"
    assert asked[-2:] == [0, 3]
    assert out == list(range(6))


@pytest.mark.parametrize("step", [strict, rowwise, picky])
def test_replayed_letters_go_into_the_step_that_refused_them_once(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store], step: Any
) -> None:
    global mended
    poison.update({1, 4, 95})
    config = {"least": 7} if step is strict else {}
    flow.source("numbers", numbers).step("step", step, config, on_error="dead_letter").sink("keep", keep)
    run(flow)
    refused = sorted(set(range(100)) - set(out))
    assert refused
    again = run(flow, replay={})
    assert again.written == 0
    assert again.rejected == len(refused)
    attempts = [letter.attempts for letter in store(flow).letters("t")]
    assert attempts
    assert set(attempts) == {1}
    mended = True
    third = run(flow, replay={})
    assert third.written == len(refused)
    assert sorted(out) == list(range(100))
    assert letters(store(flow)) == []
    assert run(flow, replay={}).written == 0


def test_a_replay_of_one_code_leaves_the_others(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    global mended
    poison.add(50)
    numbers_out = flow.source("numbers", numbers)
    numbers_out.step("strict", strict, least=5).step("rowwise", rowwise).sink("keep", keep)
    run(flow)
    mended = True
    assert run(flow, replay={"code": "poisoned"}).written == 1
    assert letters(store(flow)) == [("strict", "too_small", 5)]


def test_rows_that_a_sink_refuses_are_letters_of_the_sink(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    @sink
    def narrow(batch: Batch) -> Any:
        """Takes even numbers only."""
        odd = pc.equal(pc.bit_wise_and(batch["n"], 1), 1)
        out.extend(batch.reject(odd, "odd", "even numbers only").to_columns()["n"])

    flow.source("numbers", numbers).sink("narrow", narrow)
    outcome = run(flow)
    assert (outcome.written, outcome.rejected) == (50, 50)
    assert out == list(range(0, 100, 2))
    assert {code for _, code, _ in letters(store(flow), step="narrow")} == {"odd"}
