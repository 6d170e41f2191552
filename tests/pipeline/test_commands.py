"""What people ask of a running flow is carried out at a barrier, and every request is answered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.compute as pc
import pytest

from dataflare import Batch, ConfigError, Idle, Processor, Sink, Source, Split, State, StateError, processor, sink
from dataflare.state import state
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

out: list[dict[str, Any]] = []
held = threading.Event()
"""The component is where the test wants it."""
free = threading.Event()
caught_up = threading.Event()
"""All rows of the first source are read and told to be safe."""
both_caught_up = threading.Event()
mended = threading.Event()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    out.clear()
    for event in (held, free, caught_up, both_caught_up, mended):
        event.clear()
    yield
    free.set()


class Ticks(Source[int], rows={"n": int, "key": str}):
    """Twenty numbers, then nothing until it is free to end."""

    count: int = 20
    base: int = 0

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, self.count):
            yield {"n": [self.base + n], "key": [f"k{n % 3}"]}, n + 1
        while not free.is_set():
            yield Idle(after=0.005)

    def acknowledge(self, position: int) -> None:
        if position == self.count:
            (both_caught_up if self.base else caught_up).set()


@processor
def strict(batch: Batch) -> Batch:
    """Refuses every fourth number until it is mended."""
    return batch if mended.is_set() else batch.reject(_fourth(batch), "fourth", "not yet")


class Seen(Processor, by="key"):
    """How often each key came; refuses every fourth number until it is mended."""

    key: str = "key"
    times: State[int] = state()

    def plan(self, schema: Any) -> Any:
        return schema.with_column("times", int)

    def process(self, batch: Batch) -> Any:
        batch = strict(batch)
        rows = [{**row, "times": 0} for row in batch.to_rows()]
        for row, before in zip(rows, self.times.get(batch), strict=True):
            row["times"] = (before or 0) + 1
        self.times.put(batch, [row["times"] for row in rows])
        return batch.with_column("times", [row["times"] for row in rows])


def _fourth(batch: Batch) -> Any:
    return pc.equal(pc.bit_wise_and(batch["n"], 3), 0)


@sink
def keep(batch: Batch) -> None:
    """Keeps the rows."""
    out.extend(batch.to_rows())


def numbers() -> list[int]:
    return sorted(row["n"] for row in out)


def end(running: Any) -> Outcome:
    free.set()
    outcome: Outcome = running.end()
    assert outcome.status == "finished", outcome.problems
    return outcome


@pytest.mark.parametrize("step", [strict, Seen])
@pytest.mark.parametrize("lanes", [None, 2])
def test_letters_are_replayed_into_a_running_flow_whatever_refused_them(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store], step: Any, lanes: int | None
) -> None:
    first, second = flow.source("first", Ticks), flow.source("second", Ticks, base=100)
    flow.step("step", step, [first, second], lanes=lanes).sink("keep", keep)
    running = start(flow)
    assert caught_up.wait(30)
    assert both_caught_up.wait(30)
    wanted = sorted([*range(20), *range(100, 120)])
    assert numbers() == [n for n in wanted if n % 4]
    mended.set()
    assert running.runner.command("replay", {}) == {"letters": 10, "rows": 10}
    end(running)
    assert numbers() == wanted
    assert list(store(flow).letters("t")) == []
    if step is Seen:
        times = sorted((row["key"], row["times"]) for row in out)
        counts = Counter(row["key"] for row in out)
        assert times == sorted((key, n + 1) for key, count in counts.items() for n in range(count))


def test_what_is_refused_again_waits_for_the_next_replay(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    flow.source("ticks", Ticks).step("strict", strict).sink("keep", keep)
    running = start(flow)
    assert caught_up.wait(30)
    assert running.runner.command("replay", {"code": "other"}) == {"letters": 0, "rows": 0}
    assert running.runner.command("replay", {"step": "strict"})["rows"] == 5
    opened = store(flow)
    while len(again := [letter for letter in opened.letters("t") if letter.attempts]) < 5:
        running.runner.command("checkpoint", {})
    assert [letter.attempts for letter in again] == [1] * 5
    mended.set()
    assert running.runner.command("replay", {"ids": [again[0].id]})["rows"] == 1
    end(running)
    assert len(list(opened.letters("t"))) == 4
    assert len(numbers()) == 16


def test_a_replay_without_letters_leaves_the_lanes_running(flow: Flow, start: Callable[..., Any]) -> None:
    opened: list[int] = []

    class Opens(Sink[None]):
        """Counts how often it is opened."""

        def open(self) -> None:
            opened.append(1)

        def write(self, batch: Batch) -> None:
            out.extend(batch.to_rows())

    flow.source("ticks", Ticks).sink("opens", Opens)
    running = start(flow)
    assert caught_up.wait(30)
    assert running.runner.command("replay", {}) == {"letters": 0, "rows": 0}
    end(running)
    assert len(opened) == 1


def test_a_checkpoint_holds_all_that_was_delivered_before_it_was_asked_for(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    flow.checkpoint = {"interval": 3600}

    class Slow(Sink[int]):
        """Holds the first epoch at its prepare."""

        def write(self, batch: Batch) -> None:
            out.extend(batch.to_rows())
            if batch.to_columns()["n"][-1] == 0:
                held.set()

        def prepare(self, epoch: int) -> int:
            if epoch == 1:
                free.wait(30)
            return epoch

    flow.source("ticks", Ticks, count=1).sink("slow", Slow)
    running = start(flow)
    assert held.wait(30)
    answers: list[Any] = []
    asking = [
        threading.Thread(target=lambda: answers.append(running.runner.command("checkpoint", {}))) for _ in range(3)
    ]
    for thread in asking:
        thread.start()
    free.set()
    for thread in asking:
        thread.join(30)
    assert running.end().status == "finished"
    assert len(answers) == 3
    kept = store(flow).load("t", "ticks")
    assert kept is not None
    assert all(0 < answer["epochs"]["ticks"] <= kept.epoch for answer in answers)


class Stuck(Source[int], rows={"n": int}):
    """One number, then a read that does not return."""

    def read(self, position: int = 0) -> Iterator[Any]:
        if not position:
            yield {"n": [0]}, 1
        held.set()
        free.wait(30)


@pytest.mark.parametrize(
    ("name", "args"),
    [("checkpoint", {}), ("edit", {"step": "stuck", "split": "all", "position": 0}), ("replay", {})],
)
def test_a_request_that_the_end_overtakes_is_answered(
    flow: Flow, start: Callable[..., Any], name: str, args: dict[str, Any]
) -> None:
    class Waits(Sink[int]):
        """Holds its first epoch."""

        def write(self, batch: Batch) -> None:
            pass

        def prepare(self, epoch: int) -> int:
            caught_up.set()
            mended.wait(30)
            return epoch

    flow.checkpoint = {"interval": 3600}
    flow.source("stuck", Stuck).sink("waits", Waits)
    running = start(flow, grace=0.05)
    assert held.wait(30)
    running.runner.command("stop", {})
    assert caught_up.wait(30)
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(running.runner.command(name, args))
        except StateError as error:
            answers.append(error.code)

    asking = threading.Thread(target=ask)
    asking.start()
    while not running.runner.here.regions["stuck"].requests.any(object):
        pass
    mended.set()
    assert running.end().status == "stopped"
    asking.join(30)
    assert answers == ([{"epochs": {"stuck": 1}}] if name == "checkpoint" else ["run.not_running"])
    with pytest.raises(StateError) as refused:
        running.runner.command(name, args)
    assert refused.value.code == "run.not_running"


def test_an_edit_that_a_blocked_source_does_not_allow_is_kept_for_the_next_run(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    flow.source("stuck", Stuck).sink("keep", keep)
    running = start(flow, grace=0.05)
    assert held.wait(30)
    answer = running.runner.command("edit", {"step": "stuck", "split": "all", "position": 0})
    outcome = running.end()
    assert outcome.problems[0].code == "run.left_behind"
    kept = store(flow).load("t", "stuck")
    assert kept is not None
    assert kept.epoch == answer["epoch"]
    assert kept.splits["stuck"][0].position == 0


def test_edits_of_what_is_not_there_are_refused_and_make_no_epoch(flow: Flow, start: Callable[..., Any]) -> None:
    flow.source("ticks", Ticks).sink("keep", keep)
    running = start(flow)
    assert caught_up.wait(30)
    before = running.runner.command("checkpoint", {})["epochs"]["ticks"]
    with pytest.raises(StateError) as unknown:
        running.runner.command("edit", {"step": "ticks", "split": "gone", "position": 1})
    assert unknown.value.code == "state.unknown_split"
    for step in ("keep", "nothing"):
        with pytest.raises(ConfigError) as no_source:
            running.runner.command("edit", {"step": step, "split": "all", "position": 1})
        assert no_source.value.code == "run.unknown_step"
    assert running.runner.command("checkpoint", {})["epochs"]["ticks"] == before
    end(running)


def test_an_edited_position_keeps_its_version(
    flow: Flow, start: Callable[..., Any], store: Callable[[Flow], Store]
) -> None:
    flow.source("ticks", Ticks).sink("keep", keep)
    running = start(flow)
    assert caught_up.wait(30)
    epoch = running.runner.command("edit", {"step": "ticks", "split": "all", "position": 18})["epoch"]
    end(running)
    edited = store(flow).load("t", "ticks", epoch)
    assert edited is not None
    assert edited.position_versions == {"ticks": 1}
    assert numbers() == sorted([*range(20), 18, 19])


def test_an_unknown_command_names_those_that_there_are(flow: Flow, start: Callable[..., Any]) -> None:
    flow.source("ticks", Ticks).sink("keep", keep)
    running = start(flow)
    with pytest.raises(ConfigError) as unknown:
        running.runner.command("fly", {})
    assert unknown.value.code == "run.unknown_command"
    assert "replay" in (unknown.value.problems[0].fix or "")
    end(running)
