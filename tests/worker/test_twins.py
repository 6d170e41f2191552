"""The same plugin inline and as a worker: the same outputs, rejects, errors and state; one that leaks is replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker.processes import is_alive
from worker.projects import add_plugin

from dataflare import Batch, ConfigError
from dataflare.context import Context, FixedClock
from dataflare.drive import ProcessorDriver, SinkDriver, SourceDriver, ToolDriver, driver_for
from dataflare.errors import Reject, Retry, problem_of
from dataflare.memory import MemoryState
from dataflare.schema import Schema
from dataflare.split import Demand, Resume
from dataflare_host import Host

CODE = (Path(__file__).parent / "twin.py").read_text("utf-8")
ISOLATIONS = ("inline", "worker")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("twins")
    for isolation in ISOLATIONS:
        add_plugin(folder, f"twin-{isolation}", CODE, isolation=isolation, more='[limits]\nmemory = "256MiB"\n')
    with Host.start() as started:
        started.enter(folder)
        yield started


def twins(host: Host, kind: str, name: str, **config: Any) -> list[Any]:
    """The same component in both isolations."""
    return [host.component(f"twin-{isolation}/{name}", config, kind) for isolation in ISOLATIONS]


def context(**more: Any) -> Context:
    clock = FixedClock(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    return Context(flow="f", step="s", lane=2, epoch=7, clock=clock, **more)


def outcome(call: Any) -> Any:
    """What a call gives or raises, as it can be compared."""
    try:
        return call()
    except Reject as error:
        return "reject", error.code, error.message
    except Retry as error:
        rows = error.rows
        return "retry", error.after, None if rows is None else [bool(row) for row in _plain(rows)]
    except Exception as error:
        return problem_of(error, "step.failed").as_json()


def _plain(rows: Any) -> list[Any]:
    return rows.to_pylist() if hasattr(rows, "to_pylist") else list(rows)


def processed(component: Any, batches: list[Batch]) -> Any:
    """What a processor makes of batches, with the state after each: a failed call has written nothing."""
    state = MemoryState()
    driver = driver_for(component, context(state=state))
    assert isinstance(driver, ProcessorDriver)
    planned = driver.plan({"": Schema(batches[0].schema)})
    driver.open(Resume())
    found: list[Any] = [{name: schema.as_json() for name, schema in planned.items()}]

    def call(batch: Batch) -> Any:
        done = driver.process(Batch(batch.arrow))
        state.apply()
        rejected = [(each.rows.to_pylist(), each.code, each.message) for each in done.rejected]
        return [(name, rows.to_rows(), str(rows.schema)) for name, rows in done.outputs if len(rows)], rejected

    try:
        for batch in batches:
            found.append(outcome(lambda given=batch: call(given)))
            state.discard()
        found += [state.items(name) for name in state.names()]
        found.append(driver.snapshot())
        return found
    finally:
        driver.close()


values = st.lists(st.lists(st.integers(-3, 14) | st.just(99), max_size=6), min_size=1, max_size=4)


@pytest.mark.parametrize("name", ["times", "parity", "counter", "told"])
@settings(max_examples=20)
@given(values)
def test_a_processor_does_the_same(name: str, host: Host, given: list[list[int]]) -> None:
    batches = [Batch.of({"n": part}, pa.schema([("n", pa.int64())])) for part in given]
    inline, worker = (processed(each, batches) for each in twins(host, "processor", name))
    assert worker == inline


@settings(max_examples=20)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 9)), max_size=5), min_size=1, max_size=5))
def test_keyed_state_is_the_same_also_after_calls_that_failed(host: Host, given: list[list[tuple[str, int]]]) -> None:
    schema = pa.schema([("key", pa.string()), ("n", pa.int64())])
    batches = [Batch.of([{"key": key, "n": n} for key, n in part], schema) for part in given]
    inline, worker = (processed(each, batches) for each in twins(host, "processor", "totals", key="key"))
    assert worker == inline


@settings(max_examples=8)
@given(st.integers(0, 6), st.sampled_from([None, 0, 2, 6]))
def test_a_source_does_the_same(host: Host, count: int, position: int | None) -> None:
    def read(component: Any) -> Any:
        driver = driver_for(component, context())
        assert isinstance(driver, SourceDriver)
        driver.plan()
        driver.open(Resume())
        try:
            found: list[Any] = []
            for splits, at in driver.splits(None, frozenset()):
                found.append(([split.id for split in splits], at))
                for split in splits:
                    for step in driver.read(split, position, Demand(100, 1 << 20, float("inf")), None):
                        rows = None if step.batch is None else step.batch.to_rows()
                        found.append((rows, step.position, step.idle, step.after))
            return found
        finally:
            driver.close()

    inline, worker = (outcome(lambda made=each: read(made)) for each in twins(host, "source", "numbers", count=count))
    assert worker == inline


@settings(max_examples=10)
@given(st.lists(st.lists(st.integers(-2, 5) | st.just(99), min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_sink_does_the_same(host: Host, given: list[list[int]]) -> None:
    def written(component: Any) -> Any:
        driver = driver_for(component, context())
        assert isinstance(driver, SinkDriver)
        driver.plan(Schema(pa.schema([("n", pa.int64())])))
        driver.open(Resume())
        found: list[Any] = []
        try:
            for epoch, part in enumerate(given, 1):
                batch = Batch.of({"n": part}, pa.schema([("n", pa.int64())]))
                driver.begin(epoch)
                found.append(outcome(lambda rows=batch: [(r.rows.to_pylist(), r.code) for r in driver.write(rows)]))
                token = driver.prepare(epoch, epoch == len(given))
                driver.commit(epoch, [token])
                found += [token, driver.recover()]
            found.append([rows.to_rows() for rows in driver.readback()])
            return found
        finally:
            driver.close()

    inline, worker = (written(each) for each in twins(host, "sink", "shelf"))
    assert worker == inline


def test_a_tool_does_the_same(host: Host) -> None:
    for asked in ({"a": 2, "b": 3}, {"a": "two"}, {"a": 1, "c": 2}, {}):

        def called(component: Any, words: Any = asked) -> Any:
            driver = driver_for(component, context())
            assert isinstance(driver, ToolDriver)
            return list(driver.call(words))

        inline, worker = (outcome(lambda made=each: called(made)) for each in twins(host, "tool", "add"))
        assert worker == inline


def test_a_wrong_configuration_is_refused_in_the_same_words(host: Host) -> None:
    told = []
    for isolation in ISOLATIONS:
        with pytest.raises(ConfigError) as caught:
            host.component(f"twin-{isolation}/times", {"by": "much", "bye": 1}, "processor")
        told.append({(problem.code, problem.pointer) for problem in caught.value.problems})
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ["leaky", "leaky-counter"])
def test_a_processor_that_leaks_is_replaced_between_batches(
    name: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflare_worker.transport._LOOK_AGAIN", 0.0)
    driver = driver_for(host.component(f"twin-worker/{name}", {}, "processor"), context())
    assert isinstance(driver, ProcessorDriver)
    batch = Batch.of({"n": [1, 2]})
    driver.plan({"": Schema(batch.schema)})
    driver.open(Resume())
    rows: list[Any] = []
    for _ in range(12):
        for _, made in driver.process(batch).outputs:
            rows += made.to_rows()
        driver.snapshot()
    driver.close()
    pids = {row["pid"] for row in rows}
    assert len(rows) == 24
    assert len(pids) > 2
    assert sum(map(is_alive, pids)) <= 1
    if name == "leaky-counter":
        assert [row["row"] for row in rows] == list(range(24))


def test_a_sink_that_leaks_is_replaced_between_epochs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflare_worker.transport._LOOK_AGAIN", 0.0)
    driver = driver_for(host.component("twin-worker/leaky-shelf", {}, "sink"), context())
    assert isinstance(driver, SinkDriver)
    batch = Batch.of({"n": [1, 2]})
    driver.plan(Schema(batch.schema))
    driver.open(Resume())
    tokens = []
    for epoch in range(1, 9):
        driver.begin(epoch)
        driver.write(batch)
        tokens.append(driver.prepare(epoch, False))
        driver.commit(epoch, tokens[-1:])
    driver.close()
    assert [rows for _, rows in tokens] == [2] * 8
    assert len({pid for pid, _ in tokens}) > 1


def test_a_leak_that_no_pause_mends_ends_the_guest_and_the_batch_is_called_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dataflare_worker.transport._WORN", 100.0)
    caplog.set_level(logging.INFO)
    driver = driver_for(host.component("twin-worker/leaky", {}, "processor"), context())
    assert isinstance(driver, ProcessorDriver)
    batch = Batch.of({"n": [1, 2]})
    driver.plan({"": Schema(batch.schema)})
    driver.open(Resume())
    told = []
    for _ in range(8):
        found = outcome(lambda: driver.process(batch))
        if isinstance(found, dict):
            told.append((found["code"], found["kind"]))
            driver.process(batch)
    driver.close()
    assert set(told) == {("guest.memory", "retry")}
