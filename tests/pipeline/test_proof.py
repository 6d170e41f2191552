"""The proof of no loss: what the engine's sums say of honest flows, and of steps that are not what they declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc
import pytest

from dataflare import Batch, Columns, Out, Processor, State, processor, sink, source
from dataflare.checkpoint import Checkpoint
from dataflare.proof import differences
from dataflare.state import state
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

out: list[int] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    out.clear()


@source
def numbers(position: int = 0, *, count: int = 100, step: int = 10, pause: bool = False) -> Any:
    """Whole numbers and a word; an epoch to a batch where it pauses."""
    for start in range(position, count, step):
        end = min(start + step, count)
        yield {"n": list(range(start, end)), "word": [f"w{n}" for n in range(start, end)]}, end


@processor(cardinality="one")
def doubled(batch: Batch) -> Batch:
    """Twice the number."""
    return batch.with_column("twice", pc.multiply(batch["n"], 2))


@processor(cardinality="filter")
def even(batch: Batch) -> Batch:
    """Even numbers; those that end in 7 are refused."""
    batch = batch.reject(pc.equal(pc.subtract(batch["n"], pc.multiply(pc.divide(batch["n"], 10), 10)), 7), "seven")
    return batch.filter(pc.equal(pc.bit_wise_and(batch["n"], 1), 0))


@processor(outputs=("low", "high"))
def parted(batch: Batch) -> Any:
    """Low and high numbers, the high ones twice."""
    yield Out("low", batch.filter(pc.less(batch["n"], 50)))
    high = batch.filter(pc.greater_equal(batch["n"], 50))
    yield Out("high", high)
    yield Out("high", high)


class Numbered(Processor, by="key", cardinality="one"):
    """Counts the rows of each key."""

    key: Columns = ("word",)
    seen: State[int] = state()

    def plan(self, schema: Any) -> Any:
        return schema.with_column("count", int)

    def process(self, batch: Batch) -> Batch:
        counts = [(count or 0) + 1 for count in self.seen.get(batch)]
        self.seen.put(batch, counts)
        return batch.with_column("count", counts)


@processor(cardinality="one")
def leaky(batch: Batch, *, of: int = 42) -> Batch:
    """Declares that every row comes out, and loses one."""
    return batch.filter(pc.not_equal(batch["n"], of))


@processor(cardinality="filter")
def doubling(batch: Batch, *, of: int = 42) -> Batch:
    """Declares that it gives no more than it takes, and gives a row twice."""
    if of not in batch.to_columns()["n"]:
        return batch
    return batch.take([*range(len(batch)), 0])


@sink
def keep(batch: Batch) -> None:
    """Keeps the rows."""
    batch = batch.reject(pc.equal(batch["n"], 13), "unlucky", "")
    out.extend(batch.to_columns()["n"])


def wrong_in(made: Checkpoint) -> list[str]:
    return [found.place for found in differences(made.proofs, made.proof.steps, "end")]


@pytest.fixture
def last(run: Callable[..., Outcome], store: Callable[[Flow], Store]) -> Callable[..., Checkpoint]:
    def checkpoint(flow: Flow, **options: Any) -> Checkpoint:
        outcome = run(flow, **options)
        assert outcome.status == "finished", outcome.problems
        kept = store(flow)
        (region,) = [region for name, region in kept.flows() if name == flow.name]
        made = kept.load(flow.name, region)
        assert made is not None
        return made

    return checkpoint


def test_both_ends_of_every_edge_hold_the_same_sum(flow: Flow, last: Callable[..., Checkpoint]) -> None:
    flow.source("numbers", numbers).step("doubled", doubled).step("even", even).sink("keep", keep)
    made = last(flow)
    assert set(made.proofs) == {"numbers.out->doubled", "doubled.out->even", "even.out->keep"}
    assert [made.proofs[edge].rows for edge in sorted(made.proofs)] == [100, 50, 100]
    assert all(proof.digest == proof.taken_digest for proof in made.proofs.values())
    assert [made.proofs[edge].digest for edge in sorted(made.proofs)][::2] == ["", ""]
    assert int(made.proofs["even.out->keep"].digest) > 1 << 64
    assert made.proof.steps["even"].refused == 10
    assert (wrong_in(made), made.proof.differs) == ([], {})


def test_every_shape_adds_up(flow: Flow, last: Callable[..., Checkpoint]) -> None:
    flow.source("one", numbers)
    flow.source("other", numbers, count=70, step=7)
    flow.step("both", "std/union", from_=["one", "other"])
    flow.step("numbered", Numbered, from_="both", lanes=3)
    flow.step("parted", parted, from_="numbered")
    flow.step("doubled", doubled, from_="parted.low", lanes=2)
    flow.sink("keep", keep, from_=["doubled", "parted.high"], on_error="dead_letter")
    flow.sink("all", "std/count", from_="both")
    made = last(flow)
    assert (wrong_in(made), made.proof.differs) == ([], {})
    assert made.proofs["both.out->numbered"].rows == made.proofs["both.out->all"].rows == 170
    assert made.proofs["parted.high->keep"].rows == 2 * 70
    assert made.proof.steps["keep"].refused == 2
    assert made.proof.sinks["keep"].rows == len(out) == 100 + 140 - 2


@pytest.mark.parametrize(("step", "what"), [(leaky, (100, 99)), (doubling, (100, 101))])
def test_a_step_that_is_not_what_it_declares_is_found_with_its_epoch(
    flow: Flow, last: Callable[..., Checkpoint], caplog: Any, step: Any, what: tuple[int, int]
) -> None:
    flow.checkpoint = {"interval": 0.001, "rows": 10}
    flow.source("numbers", numbers).step("step", step).sink("keep", keep)
    with caplog.at_level("ERROR", "dataflare.pipeline"):
        made = last(flow)
    assert "epoch 5 does not add up: `step` took 10 rows" in caplog.text
    (found,) = differences(made.proofs, made.proof.steps, "end")
    assert (found.place, found.expected, found.found) == ("step", *what)
    assert made.proof.differs == {"step": 5}
