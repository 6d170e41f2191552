"""``max_rejects``: how many refused rows stop a flow, what it says then, and that none of them is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc
import pytest

from dataflare import Batch, ConfigError, processor, sink, source
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome
from dataflare_pipeline.thresholds import Threshold, Watched

out: list[int] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    out.clear()


@source
def numbers(position: int = 0, *, count: int = 400, step: int = 20) -> Any:
    """Whole numbers, an epoch to a batch."""
    for start in range(position, count, step):
        yield {"n": list(range(start, min(start + step, count)))}, start + step


@processor
def strict(batch: Batch, *, first: int = 0, last: int = 0) -> Batch:
    """Refuses the numbers of a range."""
    return batch.reject(pc.and_(pc.greater_equal(batch["n"], first), pc.less(batch["n"], last)), "inside", "")


@sink
def keep(batch: Batch) -> None:
    """Keeps the rows."""
    out.extend(batch.to_columns()["n"])


@pytest.fixture
def refused(flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]) -> Callable[..., Any]:
    """Runs a flow whose step refuses a range of 400 numbers, twenty to an epoch; the outcome and the rows kept."""

    def outcome(first: int, last: int, on_flow: Any = None, on_step: Any = None) -> tuple[Outcome, int]:
        flow.checkpoint = {"interval": 0.001, "rows": 20}
        flow.max_rejects = on_flow
        more = {} if on_step is None else {"max_rejects": on_step}
        flow.source("numbers", numbers).step("strict", strict, first=first, last=last, **more).sink("keep", keep)
        ended = run(flow)
        return ended, sum(letter.count for letter in store(flow).letters("t"))

    return outcome


@pytest.mark.parametrize("on", ["flow", "step"])
def test_more_than_a_count_stops_the_flow_and_says_why(refused: Callable[..., Any], on: str) -> None:
    ended, kept = refused(100, 400, **{f"on_{on}": 25})
    assert ended.status == "failed"
    (problem,) = ended.problems
    assert (problem.code, problem.kind) == ("run.too_many_rejects", "fatal")
    who, what = ("`strict`", "the step") if on == "step" else ("the flow", "`max_rejects`")
    assert problem.message == f"{who} refused 40 of 140 rows, {what} allows 25"
    assert "inside 40" in problem.cause if on == "step" else "strict: inside 40" in problem.cause
    assert "dataflare dlq show" in problem.fix
    assert problem.details["refused"] == kept == 40
    assert out == list(range(100))


def test_as_many_as_are_allowed_do_not(refused: Callable[..., Any]) -> None:
    ended, kept = refused(100, 130, on_flow=30, on_step=30)
    assert (ended.status, kept) == ("finished", 30)


def test_a_share_is_told_of_a_window_of_rows(refused: Callable[..., Any]) -> None:
    ended, kept = refused(200, 300, on_step={"ratio": 0.5, "window": 100})
    # the first window with more than half: 60 of the rows 160 to 259
    assert (ended.status, kept) == ("failed", 60)
    assert ended.problems[0].message == "`strict` refused 60 of 100 rows, the step allows 50.00% of 100 rows"


def test_few_rows_have_no_share(refused: Callable[..., Any]) -> None:
    ended, kept = refused(0, 80, on_flow={"ratio": 0.25, "window": 320})
    assert (ended.status, kept) == ("finished", 80)


def test_a_count_in_a_window_forgets(refused: Callable[..., Any]) -> None:
    ended, kept = refused(0, 400, on_step={"count": 100, "window": 100})
    assert (ended.status, kept) == ("finished", 400)
    assert Threshold.of({"count": 99, "window": {"rows": 100}}).passed(100, 100) == "99 of 100 rows"


def test_a_time_forgets_too() -> None:
    watched = Watched(Threshold.of({"ratio": 0.1, "window": {"time": 60.0}}))
    for second in range(0, 600, 20):
        watched.add(50, Counter(bad=4), float(second))
    assert (watched.rows, watched.codes.total()) == (200, 16)
    assert watched.threshold.passed(200, 16) is None
    assert watched.threshold.passed(200, 21) == "10.00% within 60 s"
    assert watched.threshold.passed(99, 99) is None


def test_the_next_run_goes_on_behind_the_refused_rows(
    refused: Callable[..., Any], flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    ended, _ = refused(100, 200, on_step=10)
    assert ended.status == "failed"
    again = 0
    while ended.status == "failed" and again < 20:
        ended, again = run(flow), again + 1
    assert ended.status == "finished"
    assert sorted(set(out)) == [*range(100), *range(200, 400)]  # the sink keeps also what no epoch held
    assert sum(letter.count for letter in store(flow).letters("t")) == 100


@pytest.mark.parametrize(
    "given", [-1, "many", {"window": 100}, {"ratio": 1.5}, {"count": 1, "window": "soon"}, {"ratio": 0.1, "windows": 3}]
)
def test_thresholds_that_make_no_sense_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError):
        Flow("t").source("numbers", numbers, max_rejects=given)


def test_the_normal_form_is_read_as_it_was_written() -> None:
    flow = Flow("t")
    flow.source("numbers", numbers, max_rejects={"count": 5, "ratio": 0.1, "window": "1m"}).sink("keep", keep)
    wanted = {"count": 5, "ratio": 0.1, "window": {"time": 60.0}}
    assert flow.steps["numbers"].max_rejects == wanted
    again = Flow("u")
    again.source("numbers", numbers, max_rejects=flow.steps["numbers"].to_mapping()["max_rejects"])
    assert again.steps["numbers"].max_rejects == wanted
