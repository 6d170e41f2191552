"""Schemas that grow in several lanes: agreed on once, at an epoch's border, and never lost again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflare import Batch, Processor, Sink, Source, Split
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

events: list[tuple[Any, ...]] = []
out: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    events.clear()
    out.clear()


class Parts(Source[int], rows={"n": int}):
    """Each split gets a column of its own, or both the same one, with a type of its own."""

    columns: dict[str, str] = {"a": "x", "b": "x"}
    texts: str = ""

    def splits(self) -> list[Split]:
        return [Split(name) for name in self.columns]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        if not position:
            yield {"n": [0]}, 1
            meet.wait(30)
        for n in range(max(1, position), 5):
            value = f"t{n}" if split.id == self.texts else n
            yield {"n": [n], self.columns[split.id]: [value]}, n + 1


meet = threading.Barrier(2)
"""Both lanes have given their first row."""


class Out(Sink[None]):
    """Keeps rows; notes when it is planned and when it begins."""

    def plan(self, schema: Any) -> None:
        events.append(("plan", id(self), tuple(schema.names)))

    def begin(self, epoch: int) -> None:
        events.append(("begin", id(self), epoch))

    def write(self, batch: Batch) -> None:
        events.append(("write", id(self), tuple(batch.columns)))
        out.extend(batch.to_rows())


def columns_kept(store: Store) -> set[str]:
    kept = store.load("t", "parts")
    assert kept is not None
    return {column["name"] for column in kept.schemas["parts.out"]["columns"]}


@pytest.mark.parametrize("columns", [{"a": "x", "b": "x"}, {"a": "x", "b": "y"}])
def test_lanes_that_meet_new_columns_agree_on_all_of_them(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store], columns: dict[str, str]
) -> None:
    meet.reset()
    flow.source("parts", Parts, columns=columns, lanes=2).sink("out", Out)
    outcome = run(flow)
    assert outcome.status == "finished", outcome.problems
    assert columns_kept(store(flow)) == {"n", *columns.values()}
    for column in set(columns.values()):
        values = sorted(row[column] for row in out if row.get(column) is not None)
        assert values == sorted([1, 2, 3, 4] * list(columns.values()).count(column))


def test_a_sink_is_planned_for_wider_rows_before_their_epoch_begins(flow: Flow, run: Callable[..., Outcome]) -> None:
    meet.reset()
    flow.source("parts", Parts, lanes=2).sink("out", Out)
    assert run(flow).status == "finished"
    writer = next(event[1] for event in events if event[0] == "write")
    mine = [(what, which) for what, who, which in events if who == writer]
    first_wide = mine.index(("write", ("n", "x")))
    planned = mine.index(("plan", ("n", "x")))
    assert any(what == "begin" for what, _ in mine[planned:first_wide])


def test_two_lanes_with_types_that_do_not_go_together_stop_the_flow(flow: Flow, run: Callable[..., Outcome]) -> None:
    meet.reset()
    flow.source("parts", Parts, texts="b", lanes=2).sink("out", Out)
    outcome = run(flow)
    assert outcome.status == "failed"
    assert outcome.problems[0].code == "schema.changed"
    assert "`x`" in outcome.problems[0].message


def test_a_plan_that_breaks_is_no_consent_and_no_defect_of_the_engine(flow: Flow, run: Callable[..., Outcome]) -> None:
    class Breaks(Processor):
        """Knows one column only."""

        def plan(self, schema: Any) -> Any:
            if len(schema.names) > 1:
                raise ValueError("too many columns")
            return schema

        def process(self, batch: Batch) -> Batch:
            return batch

    meet.reset()
    flow.source("parts", Parts, lanes=2).step("breaks", Breaks).sink("out", Out)
    outcome = run(flow)
    assert outcome.problems[0].code == "schema.changed"
    assert outcome.problems[0].details["step"] == "parts"
