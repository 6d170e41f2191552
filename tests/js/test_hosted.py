"""Components in TypeScript do behind the guest protocol what the same components in Python do in process."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from js.piped import Piped, bundle

from dataflare import Batch, keys
from dataflare.context import Context
from dataflare.declare import components_in
from dataflare.drive import ProcessorDriver, driver_for
from dataflare.errors import ConfigError, Reject, Retry
from dataflare.guest import Frame
from dataflare.hosting import Guests, Limits, component_classes
from dataflare.json_rows import to_json_rows
from dataflare.memory import MemoryState, MemoryTimers
from dataflare.schema import Schema
from dataflare.split import Resume
from dataflare.testing import call, processor_suite, source_suite

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
Classes = dict[str, Any]


@contextmanager
def hosted(sdk_js: Path, folder: Path, entry: str) -> Iterator[Classes]:
    """The components of a module in TypeScript, as a host has them."""
    script = bundle(sdk_js, entry, folder)
    started: list[Piped] = []

    def start() -> Piped:
        started.append(Piped(sdk_js, script))
        return started[-1]

    guests = Guests(start, keep=2)
    first = guests.take()
    described = first.call(Frame({"op": "describe"}), lambda question: question, 60).header
    guests.give_back(first)
    yield {f"{made.kind}:{made.spec.name}": made for made in component_classes(described, guests, Limits(), "vectors")}
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def theirs(sdk_js: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classes]:
    """Those that the vectors call."""
    with hosted(sdk_js, tmp_path_factory.mktemp("theirs"), "test/plugin.ts") as classes:
        yield classes


@pytest.fixture(scope="module")
def more(sdk_js: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classes]:
    """Those of these tests alone."""
    with hosted(sdk_js, tmp_path_factory.mktemp("more"), "test/hosted.ts") as classes:
        yield classes


def ours() -> Classes:
    spec = importlib.util.spec_from_file_location("guest_plugin_js", VECTORS / "guest_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guest_plugin_js"] = module
    spec.loader.exec_module(module)
    return {f"{made.kind}:{made.spec.name}": made for made in components_in(module)}


OURS = ours()
SCHEMA = pa.schema([("key", pa.string()), ("n", pa.int64())])


def process(made: Any, batches: list[Batch], **config: Any) -> list[Any]:
    """What a processor makes of batches, and what it keeps."""
    state = MemoryState()
    driver = driver_for(made(**config), Context(state=state))
    assert isinstance(driver, ProcessorDriver)
    driver.plan({"": Schema(SCHEMA)})
    driver.open(Resume())
    found: list[Any] = []
    try:
        for batch in batches:
            try:
                done = driver.process(batch)
            except (Reject, Retry) as error:
                found.append((type(error).__name__, getattr(error, "code", None), getattr(error, "after", None)))
                continue
            except Exception as error:
                found.append("77 is in it" in str(error))
                continue
            state.apply()
            rejected = [(each.rows.to_pylist(), each.code, each.message) for each in done.rejected]
            found.append(([(name, rows.to_rows()) for name, rows in done.outputs if len(rows)], rejected))
        return [*found, {name: state.items(name) for name in state.names()}]
    finally:
        driver.close()


rows = st.lists(st.tuples(st.sampled_from(["a", "b", "ü"]), st.integers(-3, 100)), max_size=6)


@pytest.mark.parametrize("name", ["times", "parity", "counter", "totals"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given=st.lists(rows, min_size=1, max_size=4))
def test_a_processor_gives_and_keeps_the_same(theirs: Classes, name: str, given: list[list[tuple[str, int]]]) -> None:
    batches = [Batch.of([{"key": key, "n": n} for key, n in part], SCHEMA) for part in given]
    config = {"key": ["key"]} if name == "totals" else {}
    kind = f"processor:{name}"
    assert process(theirs[kind], batches, **config) == process(OURS[kind], batches, **config)


def passes(suite: Any) -> None:
    """All tests of a suite hold."""
    names = [name for name in dir(suite) if name.startswith("test_")]
    assert names
    for name in names:
        getattr(suite(), name)()


def test_a_source_passes_the_suite_of_sources(theirs: Classes) -> None:
    passes(source_suite(theirs["source:numbers"], parts=2, count=7, size=3))


@pytest.mark.parametrize("name", ["times", "parity", "counter", "totals"])
def test_a_processor_passes_the_suite_of_processors(theirs: Classes, name: str) -> None:
    config = {"key": "key"} if name == "totals" else {}
    batches = [[{"key": "a", "n": n} for n in part] for part in ([1, -2, 3], [4], [5, 6, -7], [8])]
    passes(processor_suite(theirs[f"processor:{name}"], batches, **config))


def test_a_tool_answers(theirs: Classes) -> None:
    assert call(theirs["tool:add"], {"a": 2}, note="total") == {"total": 3}


def test_a_wrong_configuration_is_refused_before_a_guest_sees_it(theirs: Classes) -> None:
    with pytest.raises(ConfigError) as caught:
        theirs["processor:times"](by="many")
    assert (caught.value.code, caught.value.problems[0].pointer) == ("config.type", "/by")


COLUMNS: dict[str, pa.Array] = {
    "bool": pa.array([True, None]),
    "int8": pa.array([-128, None], pa.int8()),
    "int64": pa.array([2**53 + 1, -(2**63)]),
    "uint64": pa.array([2**64 - 1, 7], pa.uint64()),
    "float": pa.array([0.5, float("inf")], pa.float32()),
    "double": pa.array([0.1, float("nan")]),
    "decimal": pa.array([Decimal("1.50"), Decimal("-0.05")], pa.decimal128(10, 2)),
    "text": pa.array(["Zürich", ""]),
    "binary": pa.array([b"\x00\xff", b""]),
    "dictionary": pa.array(["x", "y"]).dictionary_encode(),
    "date": pa.array([date(2026, 1, 31), date(1969, 12, 31)]),
    "time": pa.array([1, 86_399_999_999_999], pa.time64("ns")),
    "second": pa.array([0, 86_399], pa.time32("s")),
    "zoned": pa.array([1, -1], pa.timestamp("ns", "UTC")),
    "paris": pa.array([1, -1], pa.timestamp("ms", "Europe/Paris")),
    "local": pa.array([1, -1], pa.timestamp("us")),
    "duration": pa.array([1_500_000, -1], pa.duration("us")),
    "null": pa.array([None, None]),
}
NESTED: dict[str, pa.Array] = {
    "list": pa.array([[1, None], None]),
    "struct": pa.array([{"a": 2**60, "b": b"x"}, None]),
    "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
}


@contextmanager
def opened(made: Any, schema: pa.Schema, ctx: Context | None = None, **config: Any) -> Iterator[ProcessorDriver]:
    driver = driver_for(made(**config), ctx or Context())
    assert isinstance(driver, ProcessorDriver)
    driver.plan({"": Schema(schema)})
    driver.open(Resume())
    yield driver
    driver.close()


@pytest.mark.parametrize("name", [*COLUMNS, *NESTED])
def test_rows_of_every_type_come_back_as_they_went(more: Classes, name: str) -> None:
    batch = pa.record_batch({name: {**COLUMNS, **NESTED}[name]})
    with opened(more["processor:same"], batch.schema) as driver:
        ((_, back),) = driver.process(Batch(batch)).outputs
    assert to_json_rows(back) == to_json_rows(batch)
    assert back.schema.field(0).type == batch.schema.field(0).type


def test_a_guest_tells_the_types_of_columns_that_nobody_planned(more: Classes) -> None:
    batch = pa.record_batch({"n": [1, 2]})
    with opened(more["processor:unplanned"], batch.schema) as driver:
        ((_, given),) = driver.process(Batch(batch)).outputs
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert given.to_columns() == {
        "n": [1, 2],
        "at": [None, epoch],
        "big": [2**60, 1],
        "raw": [b"\x00\xff"] * 2,
        "mixed": ["1970-01-01T00:00:00.000Z", "never"],
    }


@pytest.mark.parametrize("name", COLUMNS)
def test_keys_of_every_type_are_the_hosts(more: Classes, name: str) -> None:
    """State is found by the keys that the host makes of the same rows, and comes back with their values."""
    column = COLUMNS[name]
    batch = pa.record_batch({"k": column, "n": pa.array([1, 2])})
    state = MemoryState()
    with opened(more["processor:summed"], batch.schema, Context(state=state), key="k") as driver:
        for _ in range(2):
            driver.process(Batch(batch))
            state.apply()
        assert set(state.items("state")) == set(keys.encode(batch, ["k"]))
        ((_, told),) = driver.finish().outputs
    wanted: dict[Any, int] = {}
    for row, n in zip(to_json_rows(batch), (2, 4), strict=True):
        wanted[row["k"]] = wanted.get(row["k"], 0) + n
    assert {row["k"]: row["sum"] for row in to_json_rows(told)} == wanted


def test_timers_are_the_hosts(more: Classes) -> None:
    at = [datetime(2026, 1, 1, 0, minute, tzinfo=UTC) for minute in (1, 2)]
    batch = Batch.of([{"k": 2**60, "at": at[0]}, {"k": 5, "at": at[1]}])
    timers = MemoryTimers(("k",))
    with opened(more["processor:quiet"], batch.schema, Context(timers=timers), key="k") as driver:
        driver.process(batch)
        due = batch.select(["k"]).slice(0, 1)
        ((_, told),) = driver.timer(due, at[0]).outputs
    assert told.to_rows() == [{"k": 2**60, "quiet_at": at[0]}]
