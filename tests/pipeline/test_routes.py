"""Rows go to everybody who reads an output, in order, whatever is fused and however many lanes there are."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dataflare import Batch, Out, Processor, Sink, Source, Split, processor, sink, source
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Budget, Outcome

out: dict[str, list[Any]] = {}
made: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    out.clear()
    made.clear()


class Numbers(Source[int], rows={"split": str, "n": int}):
    """Numbers in several splits."""

    splits_: int = 1
    count: int = 50
    base: int = 0

    def splits(self) -> list[Split]:
        return [Split(f"s{n}") for n in range(self.splits_)]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, self.count):
            yield {"split": [split.id], "n": [self.base + n]}, n + 1


@processor(outputs=("odd", "nobody"))
def parity(batch: Batch) -> Iterator[Any]:
    """Even numbers to the main output, odd ones to another, all of them to one that nobody reads."""
    odd = pc.equal(pc.bit_wise_and(batch["n"], 1), 1)
    yield batch.filter(pc.invert(odd))
    yield Out("odd", batch.filter(odd))
    yield Out("nobody", batch)


@processor
def tenfold(batch: Batch) -> Batch:
    """Ten times as large."""
    return batch.with_column("n", pc.multiply(batch["n"], 10))


@processor
async def later(batch: Batch) -> Batch:
    """The same, some turns of the loop later."""
    import asyncio

    for _ in range(3):
        await asyncio.sleep(0)
    return batch


class Keep(Sink[None]):
    """Keeps the rows under a name."""

    name: str = "all"

    def write(self, batch: Batch) -> None:
        out.setdefault(self.name, []).extend(batch.to_rows())


def numbers(name: str = "all") -> list[int]:
    return [row["n"] for row in out.get(name, [])]


def test_named_outputs_reach_those_who_read_them_and_the_unread_one_blocks_nobody(
    flow: Flow, run: Callable[..., Outcome]
) -> None:
    split = flow.source("numbers", Numbers).step("parity", parity)
    split.step("even", tenfold).sink("evens", Keep, {"name": "even"})
    split.output("odd").sink("odds", Keep, {"name": "odd"})
    outcome = run(flow)
    assert outcome.status == "finished"
    assert numbers("even") == [10 * n for n in range(0, 50, 2)]
    assert numbers("odd") == list(range(1, 50, 2))
    assert outcome.written == 50
    assert outcome.steps["parity"] == {"read": 50, "written": 100, "rejected": 0, "dropped": 0}


@pytest.mark.parametrize("lanes", [None, 1, 2])
def test_an_output_with_two_readers_gives_both_every_row(
    flow: Flow, run: Callable[..., Outcome], lanes: int | None
) -> None:
    numbers_out = flow.source("numbers", Numbers)
    numbers_out.step("one", tenfold).sink("ones", Keep, {"name": "one"})
    numbers_out.step("two", tenfold, lanes=lanes).step("three", later).sink("threes", Keep, {"name": "three"})
    assert run(flow).status == "finished"
    assert numbers("one") == numbers("three") == [10 * n for n in range(50)]


@pytest.mark.parametrize("sink_lanes", [1, 3])
@pytest.mark.parametrize("map_lanes", [None, 2])
@pytest.mark.parametrize("source_lanes", [1, 3])
def test_the_order_of_a_split_is_kept_in_any_number_of_lanes(
    flow: Flow, run: Callable[..., Outcome], source_lanes: int, map_lanes: int | None, sink_lanes: int
) -> None:
    numbers_out = flow.source("numbers", Numbers, splits_=5, lanes=source_lanes)
    numbers_out.step("later", later, lanes=map_lanes).sink("keep", Keep, lanes=sink_lanes)
    outcome = run(flow)
    assert (outcome.status, outcome.read, outcome.written) == ("finished", 250, 250)
    for split in range(5):
        assert [row["n"] for row in out["all"] if row["split"] == f"s{split}"] == list(range(50))


class Sides(Processor, inputs=("left", "right")):
    """Says from which input a row came."""

    def plan(self, schemas: dict[str, Any]) -> Any:
        return schemas["left"].with_column("side", str)

    def process(self, batch: Batch, stream: str) -> Batch:
        return batch.reject(pc.equal(batch["n"], 7), "seven", "not that").with_column("side", stream)


def test_named_inputs_are_told_apart_also_in_a_replay(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    left, right = flow.source("left", Numbers), flow.source("right", Numbers, count=10)
    flow.step("sides", Sides, {"left": left, "right": right}).sink("keep", Keep)
    outcome = run(flow)
    assert (outcome.status, outcome.rejected, outcome.written) == ("finished", 2, 58)
    assert {letter.input for letter in store(flow).letters("t")} == {"left", "right"}
    sides = [row["side"] for row in out["all"]]
    assert (sides.count("left"), sides.count("right")) == (49, 9)
    again = run(flow, replay={})
    assert (again.read, again.rejected) == (0, 2)
    assert {(letter.input, letter.attempts) for letter in store(flow).letters("t")} == {("left", 1), ("right", 1)}


def test_rows_that_fused_expressions_refuse_are_those_of_the_first_and_can_be_replayed(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    @source(rows={"t": str})
    def texts(position: int = 0) -> Iterator[Any]:
        """Numbers as text, one of them not."""
        if not position:
            yield {"t": ["1", "2", "x", "4"]}, 1

    renamed = flow.source("texts", texts).step("first", "std/select", rename={"t": "u"})
    renamed.step("second", "std/compute", columns={"n": "cast(u as bigint)"}).sink("keep", Keep)
    outcome = run(flow)
    assert (outcome.written, outcome.rejected) == (3, 1)
    (letter,) = store(flow).letters("t")
    assert letter.step == "first"
    assert pa.ipc.open_stream(letter.rows).read_all().to_pydict() == {"t": ["x"]}
    again = run(flow, replay={})
    assert (again.status, again.rejected) == ("finished", 1)


def test_a_step_that_gets_rows_of_a_strange_type_is_named(flow: Flow, run: Callable[..., Outcome]) -> None:
    @processor(adds={"m": int})
    def add(batch: Batch) -> Any:
        """Says that `m` is a number."""
        return batch.with_column("m", pa.array(["x"] * len(batch)))

    flow.source("numbers", Numbers).step("add", add).sink("keep", Keep)
    outcome = run(flow)
    assert outcome.status == "failed"
    assert outcome.problems[0].details["step"] == "add"


# --- delivered on commit, made once -------------------------------------------------------------------


class Mailbox(Sink[None]):
    """Mails rows; its box is made once."""

    box: str = "in"

    def on_created(self, ctx: Any) -> dict[str, str]:
        made.append(f"{ctx.step} {self.box}")
        return {"box": self.box}

    def open(self, resume: Any) -> None:
        assert resume.made == {"box": self.box}

    def write(self, batch: Batch) -> None:
        assert len(batch)
        out.setdefault(self.box, []).extend(batch.to_rows())


@pytest.mark.parametrize("deliver", [None, "on_commit"])
def test_what_a_sink_makes_once_is_made_once_also_behind_the_spool(
    flow: Flow, run: Callable[..., Outcome], deliver: str | None
) -> None:
    words = {"deliver": deliver} if deliver else {}
    flow.source("numbers", Numbers).sink("mail", Mailbox, **words)
    assert run(flow).status == "finished"
    assert run(flow).nothing_new
    assert numbers("in") == list(range(50))
    assert made == ["mail in"]


def test_a_sink_that_a_known_flow_gets_makes_its_things_before_the_first_row(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store], tmp_path: Any
) -> None:
    flow.source("numbers", Numbers, count=10).sink("mail", Mailbox)
    run(flow)
    longer = Flow("t", base=tmp_path)
    more = longer.source("numbers", Numbers, splits_=2, count=10)
    more.sink("mail", Mailbox)
    more.sink("second", Mailbox, box="other")
    outcome = run(longer)
    assert outcome.status == "finished", outcome.problems
    assert made == ["mail in", "second other"]
    assert numbers("in") == [*range(10), *range(10)]
    assert numbers("other") == list(range(10))
    kept = store(longer).load("t", "numbers")
    assert kept is not None
    assert kept.made == {"mail": {"box": "in"}, "second": {"box": "other"}}


class Slot(Sink[None]):
    """Keeps a slot that follows its settings."""

    size: int = 1

    def on_created(self) -> dict[str, int]:
        made.append(f"made {self.size}")
        return {"size": self.size}

    def on_updated(self, made: dict[str, int], before: dict[str, int]) -> dict[str, int]:
        changes.append((made, before["size"], self.size))
        return {"size": self.size}

    def open(self, resume: Any) -> None:
        held.append(resume.made["size"])

    def write(self, batch: Batch) -> None:
        assert len(batch)


changes: list[tuple[dict[str, int], int, int]] = []
held: list[int] = []


@pytest.mark.parametrize("deliver", [None, "on_commit"])
def test_what_was_made_follows_a_change_of_the_configuration_before_anything_is_read(
    run: Callable[..., Outcome], tmp_path: Any, deliver: str | None
) -> None:
    changes.clear()
    held.clear()

    def sized(size: int) -> Flow:
        flow = Flow("t", base=tmp_path)
        words = {"deliver": deliver} if deliver else {}
        flow.source("numbers", Numbers, count=10).sink("slot", Slot, size=size, **words)
        return flow

    for size in (1, 1, 2, 2, 3):
        outcome = run(sized(size))
        assert outcome.status == "finished", outcome.problems
    assert made == ["made 1"]
    assert changes == [({"size": 1}, 1, 2), ({"size": 2}, 2, 3)]
    assert held == [1, 1, 2, 2, 3]


# --- asynchronous steps -----------------------------------------------------------------------------------


def test_async_components_of_every_kind_work_together(flow: Flow, run: Callable[..., Outcome]) -> None:
    class Pages(Source[int], rows={"n": int}):
        """Numbers from somewhere far away."""

        async def read(self, position: int = 0) -> AsyncIterator[Any]:
            for n in range(position, 20):
                yield {"n": [n]}, n + 1

    @processor(each="row", in_flight=4)
    async def fetched(row: dict[str, Any]) -> dict[str, Any]:
        """Ten times as large, once it is fetched."""
        import asyncio

        await asyncio.sleep(0)
        return {"n": 10 * row["n"]}

    @sink
    async def sent(batch: Batch) -> None:
        """Sends rows."""
        out.setdefault("all", []).extend(batch.to_rows())

    flow.source("pages", Pages).step("fetched", fetched).sink("sent", sent)
    assert run(flow).status == "finished"
    assert numbers() == [10 * n for n in range(20)]


# --- budget ------------------------------------------------------------------------------------------------


def test_a_budget_that_changes_changes_how_much_channels_take(flow: Flow, start: Callable[..., Any]) -> None:
    held, free = threading.Event(), threading.Event()

    class Slow(Sink[None]):
        """Takes its first row when it is free."""

        def write(self, batch: Batch) -> None:
            held.set()
            free.wait(30)

    class Wide(Source[int], rows={"text": str}):
        """Rows of a megabyte."""

        def read(self, position: int = 0) -> Iterator[Any]:
            for n in range(position, 16):
                yield {"text": ["x" * (1 << 20)]}, n + 1

    flow.source("wide", Wide).sink("slow", Slow)
    budget = Budget(memory=1 << 20)
    running = start(flow, budget)

    def queued() -> int:
        return int(running.runner.command("status", {})["steps"]["slow"]["queue_rows"])

    assert held.wait(30)
    while (rows := queued()) < 1:
        pass
    assert rows == 1
    budget.set(None, None)
    while (rows := queued()) < 4:
        pass
    free.set()
    assert running.end().written == 16
