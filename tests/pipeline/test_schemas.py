"""Schemas that change in mid-stream: agreed on at a checkpoint, or handled by the rule of the flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dataflare import Batch, ConfigError, Processor, Sink, processor, sink, source
from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host.kinds import Outcome

out: list[dict[str, Any]] = []
planned: list[list[str]] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    out.clear()
    planned.clear()


@source
def growing(position: int = 0) -> Any:
    """A column appears at 5, a type widens at 8."""
    for n in range(position, 10):
        row: dict[str, Any] = {"n": n if n < 8 else n + 0.5}
        if n >= 5:
            row["extra"] = f"e{n}"
        yield [row], n + 1


class Keep(Sink):
    """Keeps the rows and the schemas it was planned for."""

    def plan(self, schema: Any) -> None:
        planned.append(schema.names)

    def write(self, batch: Batch) -> None:
        out.extend(batch.to_rows())


class Narrow(Processor):
    """Takes `n` only."""

    def plan(self, schema: Any) -> Any:
        if schema.names != ["n"]:
            raise ConfigError.of("narrow.columns", "only `n` can be taken")
        return schema

    def process(self, batch: Batch) -> Batch:
        return batch


@processor
def same(batch: Batch) -> Batch:
    """Passes everything."""
    return batch


def test_a_new_column_and_a_wider_type_are_agreed_on_and_no_row_is_lost(
    flow: Flow, run: Callable[..., Outcome], store: Callable[[Flow], Store]
) -> None:
    flow.source("growing", growing).step("same", same).sink("keep", Keep)
    outcome = run(flow)
    assert outcome.status == "finished", outcome.problems
    assert [row["n"] for row in out] == [0, 1, 2, 3, 4, 5, 6, 7, 8.5, 9.5]
    assert [row.get("extra") for row in out] == [None] * 5 + [f"e{n}" for n in range(5, 10)]
    assert planned[-1] == ["n", "extra"]
    last = store(flow).load("t", "growing")
    assert last is not None
    columns = {column["name"]: column["type"] for column in last.schemas["growing.out"]["columns"]}
    assert columns == {"n": "double", "extra": "string"}
    assert last.epoch >= 3


def test_a_step_that_cannot_take_the_new_column_stops_the_flow_with_the_column_named(
    flow: Flow, run: Callable[..., Outcome]
) -> None:
    flow.source("growing", growing).step("narrow", Narrow).sink("keep", Keep)
    outcome = run(flow)
    assert outcome.status == "failed"
    assert outcome.problems[0].code == "schema.changed"
    assert "`extra`" in outcome.problems[0].message
    assert [row["n"] for row in out] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("rule", "kept", "rejected", "dropped"),
    [("discard_row", 5, 0, 5), ("dead_letter", 5, 5, 0), ("discard_value", 8, 0, 0)],
)
def test_other_rules_go_on_without_the_new_column(
    flow: Flow, run: Callable[..., Outcome], rule: str, kept: int, rejected: int, dropped: int
) -> None:
    flow.on_schema_change = rule
    flow.source("growing", growing).sink("keep", Keep)
    outcome = run(flow)
    assert outcome.status == "finished", outcome.problems
    assert len([row for row in out if row["n"] is not None]) == kept
    assert (outcome.rejected, outcome.dropped) == (rejected, dropped)
    assert all(set(row) == {"n"} for row in out)


def test_freeze_fails_at_the_first_new_column(flow: Flow, run: Callable[..., Outcome]) -> None:
    flow.on_schema_change = "freeze"
    flow.source("growing", growing).sink("keep", Keep)
    outcome = run(flow)
    assert outcome.status == "failed"
    assert outcome.problems[0].code == "schema.changed"
    assert [row["n"] for row in out] in [list(range(length)) for length in range(6)]


def test_a_schema_once_agreed_on_stays_after_a_restart(flow: Flow, run: Callable[..., Outcome], tmp_path: Any) -> None:
    @source
    def first(position: int = 0, *, until: int = 3) -> Any:
        """Wide rows first, narrow ones later."""
        for n in range(position, until):
            yield [{"n": n, "extra": "x"}] if n < 3 else [{"n": n}], n + 1

    @sink
    def last(batch: Batch) -> None:
        """Keeps the rows."""
        out.extend(batch.to_rows())

    flow.source("first", first, until=5).sink("last", last)
    assert run(flow).status == "finished"
    assert out[3:] == [{"n": 3, "extra": None}, {"n": 4, "extra": None}]
