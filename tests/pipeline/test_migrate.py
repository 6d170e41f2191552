"""A component of a newer version takes over the positions and the state of an older one, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dataflare import Batch, Processor, Source, Split, State, sink
from dataflare.guest import Frame, Guest
from dataflare.hosting import Guests, Limits, component_classes
from dataflare.state import state
from dataflare.testing.guests import InProcess
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

out: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    out.clear()


class First(Source[int], name="reader"):
    """Positions are numbers."""

    until: int = 4

    def splits(self) -> list[Split]:
        return [Split("a"), Split("b")][: 1 if self.until < 5 else 2]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        for n in range(position, 4):
            yield {"key": [split.id], "n": [n]}, n + 1


class Second(Source[dict], name="reader", version=2):
    """Positions are objects."""

    def splits(self) -> list[Split]:
        return [Split("a"), Split("b")]

    def read(self, split: Split, position: dict | None = None) -> Iterator[Any]:
        at = position or {"at": 0}
        for n in range(at["at"], 4):
            yield {"key": [split.id], "n": [n]}, {"at": n + 1}


class Migrating(Second, name="reader", version=2):
    """Knows the older form."""

    def migrate_position(self, version: int, old: Any) -> dict:
        assert version == 1
        return {"at": old}


class Sum(Processor, by="key", name="sum"):
    """The sum of each key as a number."""

    key: str = "key"
    total: State[int] = state()

    def process(self, batch: Batch) -> Any:
        rows = batch.to_rows()
        held = self.total.get(batch)
        made = [{"key": row["key"], "sum": (old or 0) + row["n"]} for row, old in zip(rows, held, strict=True)]
        self.total.put(batch, [row["sum"] for row in made])
        return made

    def plan(self, schema: Any) -> Any:
        return {"key": str, "sum": int}


class SumV2(Processor, by="key", name="sum", version=2):
    """The same, kept as an object."""

    key: str = "key"
    total: State[dict] = state()

    def plan(self, schema: Any) -> Any:
        return {"key": str, "sum": int}

    def process(self, batch: Batch) -> Any:
        rows = batch.to_rows()
        held = self.total.get(batch)
        made = [
            {"key": row["key"], "sum": (old or {"s": 0})["s"] + row["n"]} for row, old in zip(rows, held, strict=True)
        ]
        self.total.put(batch, [{"s": row["sum"]} for row in made])
        return made


class SumMigrating(SumV2, name="sum", version=2, by="key"):
    """Knows the older form."""

    def migrate_state(self, version: int, name: str, value: Any) -> Any:
        return {"s": value}


@sink
def keep(batch: Batch) -> None:
    """Keeps the rows."""
    out.extend(batch.to_rows())


def build(folder: Path, reader: Any, total: Any) -> Flow:
    flow = Flow("t", base=folder)
    flow.source("reader", reader).step("sum", total).sink("keep", keep)
    return flow


def test_positions_and_state_of_an_older_version_are_taken_over(tmp_path: Path, run: Callable[..., Outcome]) -> None:
    assert run(build(tmp_path, First, Sum)).read == 4
    outcome = run(build(tmp_path, Migrating, SumMigrating))
    assert outcome.status == "finished", outcome.problems
    assert outcome.read == 4
    assert [row["sum"] for row in out if row["key"] == "a"] == [0, 1, 3, 6]
    again = run(build(tmp_path, Second, SumV2))
    assert again.nothing_new


@pytest.mark.parametrize(
    ("reader", "total", "code"),
    [(Second, Sum, "state.position_version"), (First, SumV2, "state.version")],
)
def test_a_version_that_cannot_be_taken_over_is_refused_and_the_old_state_stays(
    tmp_path: Path, run: Callable[..., Outcome], reader: Any, total: Any, code: str
) -> None:
    run(build(tmp_path, First, Sum))
    outcome = run(build(tmp_path, reader, total))
    assert outcome.status == "failed"
    assert outcome.problems[0].code == code
    assert run(build(tmp_path, First, Sum)).nothing_new


def test_an_older_component_than_the_state_is_refused(tmp_path: Path, run: Callable[..., Outcome]) -> None:
    run(build(tmp_path, Second, SumV2))
    outcome = run(build(tmp_path, First, Sum))
    assert outcome.problems[0].code == "state.mismatch"


class Ones(Source[int], name="ones"):
    """A one for each of 2,500 keys, in every split."""

    parts: int

    def splits(self) -> list[Split]:
        return [Split(str(n)) for n in range(self.parts)]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        if position == 0:
            yield {"key": [str(n) for n in range(2_500)], "n": [1] * 2_500}, 1


class Places(Source[int], name="places"):
    """A row in each of many splits."""

    parts: int = 1_200

    def splits(self) -> list[Split]:
        return [Split(str(n), data=n) for n in range(self.parts)]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        if position == 0:
            yield {"key": [split.id], "n": [split.data]}, split.data + 1


class PlacesV2(Places, Source[list], name="places", version=2):
    """The same, placed by a list."""

    def read(self, split: Split, position: list | None = None) -> Iterator[Any]:
        if position is None:
            yield {"key": [split.id], "n": [split.data]}, [split.data + 1]
        elif position != [split.data + 1]:
            raise RuntimeError(f"{split.id} goes on from {position}")

    def migrate_position(self, version: int, old: int) -> list:
        return [old]


class Counting(InProcess):
    """A guest that counts the requests to take something over."""

    asked: ClassVar[list[str]] = []

    def call(self, request: Frame, answering: Any, seconds: float) -> Frame:
        if request.header["op"].startswith("migrate_"):
            self.asked.append("value" if "old" in request.header else "part")
        return super().call(request, answering, seconds)


@pytest.mark.parametrize(("minors", "asked"), [(["1.0", "1.1"], ["part"] * 3), (None, ["value"] * 2_500)])
def test_a_guest_takes_over_many_values_at_once_one_of_1_0_each_by_itself(
    tmp_path: Path, run: Callable[..., Outcome], minors: list[str] | None, asked: list[str]
) -> None:
    Counting.asked = []
    described = Guest([SumMigrating]).handle(Frame({"op": "describe"})).header
    told = {name: value for name, value in {**described, "api": minors}.items() if value is not None}
    (guest,) = component_classes(told, Guests(lambda: Counting([SumMigrating])), Limits(), "sums")

    def flow(parts: int, total: Any) -> Flow:
        made = Flow("t", base=tmp_path)
        made.source("ones", Ones, parts=parts).step("sum", total).sink("keep", keep)
        return made

    run(flow(1, Sum))
    outcome = run(flow(2, guest))
    assert outcome.status == "finished", outcome.problems
    assert Counting.asked == asked
    assert sorted((row["key"], row["sum"]) for row in out[2_500:]) == sorted((str(n), 2) for n in range(2_500))


@pytest.mark.parametrize(("minors", "asked"), [(["1.0", "1.1"], ["part"] * 2), (["1.0"], ["value"] * 1_200)])
def test_a_guest_takes_over_the_positions_of_many_splits_at_once(
    tmp_path: Path, run: Callable[..., Outcome], minors: list[str], asked: list[str]
) -> None:
    Counting.asked = []
    described = Guest([PlacesV2]).handle(Frame({"op": "describe"})).header
    told = {**described, "api": minors}
    (guest,) = component_classes(told, Guests(lambda: Counting([PlacesV2])), Limits(), "places")

    def flow(reader: Any, **config: Any) -> Flow:
        made = Flow("t", base=tmp_path)
        made.source("places", reader, **config).sink("keep", keep)
        return made

    assert run(flow(Places)).read == 1_200
    outcome = run(flow(guest, parts=1_201))
    assert (outcome.status, outcome.read, outcome.problems) == ("finished", 1, ())
    assert Counting.asked == asked
