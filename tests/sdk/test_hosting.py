"""Components behind the guest protocol do what they do in process; what is lost with a guest is said and repeated."""

from __future__ import annotations

import base64
import importlib.util
import itertools
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Batch, Columns, Processor, Secret, Sink, State, field, source, tool
from dataflare.context import Context
from dataflare.declare import component_class, components_in
from dataflare.drive import ProcessorDriver, SinkDriver, SourceDriver, ToolDriver, driver_for
from dataflare.errors import ConfigError, InstanceLost, Reject, Retry
from dataflare.guest import Frame, Guest
from dataflare.hosting import GuestLost, Guests, Limits, component_classes, lost
from dataflare.hosting.questions import Answers
from dataflare.hosting.rows import rows_in
from dataflare.memory import MemoryState
from dataflare.schema import Schema
from dataflare.split import Demand, Resume, Split
from dataflare.testing.guests import InProcess, as_guests
from dataflare_flow import Flow

COLLECTED: list[dict[str, Any]] = []


class Collected(Sink, ability="staged"):
    """Keeps what was committed."""

    def begin(self) -> None:
        self.staged: list[dict[str, Any]] = []

    def write(self, batch: Batch) -> None:
        self.staged += batch.to_rows()

    def prepare(self) -> list[dict[str, Any]]:
        return self.staged

    def commit(self, tokens: list[list[dict[str, Any]]]) -> None:
        COLLECTED.extend(row for token in tokens for row in token)


@pytest.fixture(autouse=True)
def nothing_collected() -> None:
    COLLECTED.clear()


VECTORS = Path(__file__).resolve().parents[1] / "vectors"
ENCODINGS = ["arrow", "json"]


def plugin() -> Any:
    spec = importlib.util.spec_from_file_location("guest_plugin_hosted", VECTORS / "guest_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guest_plugin_hosted"] = module
    spec.loader.exec_module(module)
    return module


COMPONENTS = components_in(plugin())


@pytest.fixture(params=ENCODINGS)
def guests(request: pytest.FixtureRequest) -> dict[str, Any]:
    return as_guests(COMPONENTS, encodings=[request.param])


def inline() -> dict[str, Any]:
    return {f"{made.kind}:{made.spec.name}": made for made in COMPONENTS}


def read(made: Any, split: str = "part-0", position: Any = None) -> list[Any]:
    driver = driver_for(made, Context())
    assert isinstance(driver, SourceDriver)
    driver.plan()
    driver.open(Resume())
    try:
        steps = driver.read(Split(split, data=0), position, Demand(100, 1 << 20, float("inf")), None)
        return [
            (None if step.batch is None else step.batch.to_rows(), step.position, step.idle, step.after)
            for step in steps
        ]
    finally:
        driver.close()


def process(made: Any, batches: list[Batch], state: MemoryState | None = None) -> list[Any]:
    ctx = Context(state=state)
    driver = driver_for(made, ctx)
    assert isinstance(driver, ProcessorDriver)
    driver.plan({"": Schema(batches[0].schema)})
    driver.open(Resume())
    found: list[Any] = []
    try:
        for batch in batches:
            try:
                done = driver.process(batch)
                rejected = [(each.rows.to_pylist(), each.code, each.message) for each in done.rejected]
                found.append(([(name, rows.to_rows()) for name, rows in done.outputs if len(rows)], rejected))
            except Reject as error:
                found.append(("rejected", error.code, error.message))
            except Retry as error:
                found.append(("retry", error.after))
            except Exception as error:
                found.append(("failed", "77 is in it" in str(error)))
            if state is not None:
                state.apply()
        return found
    finally:
        driver.close()


numbers = st.lists(st.lists(st.integers(-3, 100), max_size=6), min_size=1, max_size=4)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["times", "parity", "counter"])
@settings(max_examples=25, deadline=None)
@given(numbers)
def test_a_processor_gives_the_same_as_in_process(encoding: str, name: str, given: list[list[int]]) -> None:
    batches = [Batch.of({"n": part}, pa.schema([("n", pa.int64())])) for part in given]
    key = f"processor:{name}"
    guest = as_guests(COMPONENTS, encodings=[encoding])[key]
    assert process(guest(), batches) == process(inline()[key](), batches)


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 9)), min_size=1), min_size=1))
def test_keyed_state_is_kept_by_the_host(encoding: str, given: list[list[tuple[str, int]]]) -> None:
    schema = pa.schema([("key", pa.string()), ("n", pa.int64())])
    batches = [Batch.of([{"key": key, "n": n} for key, n in part], schema) for part in given]
    mine, theirs = MemoryState(), MemoryState()
    made = as_guests(COMPONENTS, encodings=[encoding])["processor:totals"]
    assert process(made(key="key"), batches, theirs) == process(inline()["processor:totals"](key="key"), batches, mine)
    assert theirs.items("total") == mine.items("total")


def test_a_source_is_read_resumed_and_ended(guests: dict[str, Any]) -> None:
    made = guests["source:numbers"]
    assert made.spec["replay"] == "position"
    assert read(made(count=5, size=2)) == read(inline()["source:numbers"](count=5, size=2))
    assert read(made(count=5, size=2), position=4) == read(inline()["source:numbers"](count=5, size=2), position=4)


def test_a_sink_goes_through_an_epoch_and_reads_back(guests: dict[str, Any]) -> None:
    made = guests["sink:shelf"]()
    driver = driver_for(made, Context())
    assert isinstance(driver, SinkDriver)
    batch = Batch.of({"n": [1, -2, 3]})
    driver.plan(Schema(batch.schema))
    driver.open(Resume())
    driver.begin(1)
    (rejected,) = driver.write(batch)
    assert (rejected.rows.to_pylist(), rejected.code) == ([1], "negative")
    token = driver.prepare(1, False)
    driver.commit(1, [token])
    assert driver.recover() == 1
    assert [row for rows in driver.readback() for row in rows.to_rows()] == [{"n": 1}, {"n": 3}]
    driver.begin(2)
    driver.abort(2, [])
    driver.close()


def test_a_tool_tells_of_progress_and_answers(guests: dict[str, Any]) -> None:
    driver = driver_for(guests["tool:add"](note="sum"), Context())
    assert isinstance(driver, ToolDriver)
    assert list(driver.call({"a": 2, "b": 3})) == [(False, {"done": 1}), (True, {"sum": 5})]
    with pytest.raises(ConfigError) as caught:
        list(driver.call({"a": "two"}))
    assert caught.value.problems[0].pointer == "/a"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_flow_of_guests_is_a_flow(encoding: str, tmp_path: Path) -> None:
    made = as_guests(COMPONENTS, encodings=[encoding])
    flow = Flow("guests", base=tmp_path)
    numbers = flow.source("numbers", made["source:numbers"], count=12, size=3)
    parity = numbers.step("threefold", made["processor:times"], by=3).step("parity", made["processor:parity"])
    parity.sink("even", Collected)
    parity.output("odd").sink("odd", made["sink:shelf"])
    outcome = flow.run()
    assert outcome.status == "finished", outcome.problems
    assert sorted(row["n"] for row in COLLECTED) == [3 * n for n in range(12) if n % 2 == 0]
    assert outcome.steps["odd"]["written"] == 6


# --- rows that nobody planned -----------------------------------------------------------------------------


class Unplanned(Processor):
    """Gives rows of any columns."""

    def plan(self) -> Any:
        return Schema(open=True)

    def process(self, batch: Batch) -> Batch:
        return batch


@source
def found() -> Any:
    """Rows whose types only reading tells."""
    yield MANY


MANY = Batch(
    pa.record_batch(
        {
            "at": pa.array([0, None], pa.timestamp("us", "UTC")),
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "raw": pa.array([b"\x00", None]),
            "big": pa.array([2**60, None]),
            "small": pa.array([1, None], pa.int8()),
            "days": pa.array([[0, 1], None], pa.list_(pa.date32())),
        }
    )
)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rows_that_nobody_planned_keep_their_types(encoding: str) -> None:
    made = as_guests([Unplanned, component_class(found)], encodings=[encoding])  # type: ignore[list-item]
    driver = driver_for(made["processor:unplanned"](), Context())
    assert isinstance(driver, ProcessorDriver)
    driver.plan({"": Schema(MANY.schema)})
    driver.open(Resume())
    ((_, given),) = driver.process(MANY).outputs
    assert given.arrow.equals(MANY.arrow)
    source_driver = driver_for(made["source:found"](), Context())
    assert isinstance(source_driver, SourceDriver)
    assert source_driver.plan() is None
    source_driver.open(Resume())
    step = next(iter(source_driver.read(Split(""), None, Demand(100, 1 << 20, float("inf")), None)))
    assert step.batch is not None
    assert step.batch.arrow.equals(MANY.arrow)


def test_what_a_guest_says_of_some_columns_leaves_the_others_as_they_are() -> None:
    part = b'[{"a": 1, "at": "1970-01-01T00:00:00Z"}, {"b": "x"}]'
    told = Schema({"at": pa.timestamp("us", "UTC")}, open=True)
    read = rows_in(part, "json", None, told)
    assert read.schema == pa.schema([("a", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("b", pa.string())])
    assert [row["b"] for row in read.to_rows()] == [None, "x"]
    assert len(rows_in(b"[{}, {}]", "json", None, told)) == 2
    planned = Schema({"a": pa.int64(), "at": pa.string()})
    assert rows_in(part, "json", planned, told).schema == planned.arrow


# --- much state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_guest_reads_through_more_state_than_one_frame_holds(encoding: str) -> None:
    made, state = as_guests(COMPONENTS, encodings=[encoding]), MemoryState()
    batch = Batch.of({"k": [str(n) for n in range(60_000)], "n": [1] * 60_000})
    driver = driver_for(made["processor:ledger"](), Context(state=state))
    assert isinstance(driver, ProcessorDriver)
    driver.plan({"": Schema(batch.schema)})
    driver.open(Resume())
    driver.process(batch)
    state.apply()
    ((_, told),) = driver.finish().outputs
    assert told.to_rows() == [{"keys": 60_000, "sum": 60_000}]


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=8), st.integers(0, 300_000), max_size=40),
    st.integers(-1, 12) | st.just(10**9),
)
def test_pages_of_a_state_hold_all_of_it_once_and_fit_into_frames(held: dict[bytes, int], limit: int) -> None:
    state = MemoryState()
    state.put("s", list(held), ["x" * size for size in held.values()], None)
    state.apply()
    answers, found, words = Answers(Context(state=state)), [], {"name": "s", "limit": limit}
    while True:
        page = answers(Frame({"op": "state.items", **words})).header
        assert len(Frame(page).pack()) < 1 << 20
        assert len(page["keys"]) <= max(1, limit)
        found += [(base64.b64decode(key), len(value)) for key, value in zip(page["keys"], page["values"], strict=True)]
        if "next" not in page:
            break
        words["after"] = page["next"]
        # What a call reads stays as it was when it began to read.
        state.put("s", [b"", b"\xff" * 9], ["new", "new"], None)
        state.apply()
    assert found == sorted(held.items())
    answers.settled()
    fresh = answers(Frame({"op": "state.items", "name": "s", "limit": 1})).header["keys"]
    assert fresh == [base64.b64encode(key).decode() for key in sorted(state.items("s"))[:1]]


# --- configuration ----------------------------------------------------------------------------------------


@tool
def configured(
    text: str,
    *,
    count: int = field(default=3, ge=1, help="How many."),
    token: Secret,
    columns: Columns = ("a",),
    style: str = field(default="x", choices=["x", "y"]),
    rates: dict[str, float] = field(default={}),
) -> Any:
    """Shows what it was configured with."""
    return [text, count, token.get(), list(columns), style, rates]


def test_configuration_is_checked_like_that_of_a_class_and_reaches_the_guest() -> None:
    made = as_guests([component_class(configured)])["tool:configured"]  # type: ignore[list-item]
    driver = driver_for(made(count=5, token="s3cret", columns="b", rates={"eu": 1.5}), Context())
    assert driver.answer(text="hi") == ["hi", 5, "s3cret", ["b"], "x", {"eu": 1.5}]  # type: ignore[attr-defined]
    with pytest.raises(ConfigError) as caught:
        made(count=0, tokn="x", style="z", rates={"eu": "much"})
    assert {(each.code, each.pointer) for each in caught.value.problems} >= {
        ("config.unknown_field", "/tokn"),
        ("config.choice", "/style"),
    }
    assert {each.pointer for each in caught.value.problems} >= {"/count", "/rates"}


# --- guests that are lost -------------------------------------------------------------------------------------


class Mortal(InProcess):
    """A guest that dies in front of calls that ``dies`` says yes to."""

    def __init__(self, components: Any, dies: Callable[[Frame], bool]) -> None:
        super().__init__(components)
        self._dies = dies

    def call(self, request: Frame, answering: Any, seconds: float) -> Frame:
        answer = super().call(request, answering, seconds)
        if self._dies(request):
            self.close()
            raise lost("guest.exited", "mortal", request, "exit code 3")
        return answer


def mortals(components: list[Any], dies: Callable[[Frame], bool]) -> dict[str, Any]:
    listed = [component_class(each) for each in components]
    described = Guest(listed).handle(Frame({"op": "describe"})).header  # type: ignore[arg-type]
    made = component_classes(described, Guests(lambda: Mortal(listed, dies)), Limits(), "mortal")
    return {f"{each.kind}:{each.spec.name}": each for each in made}


def nth(op: str, *numbers: int) -> Callable[[Frame], bool]:
    """Yes to these passes of an operation."""
    passes = [0]

    def dies(frame: Frame) -> bool:
        if frame.header["op"] == op:
            passes[0] += 1
        return frame.header["op"] == op and passes[0] in numbers

    return dies


class Sums(Processor, by="key"):
    """A running sum; one key."""

    key: Columns = ("k",)
    total: State[int]

    def process(self, batch: Batch) -> Batch:
        first = self.total.get(batch.slice(0, 1))[0] or 0
        sums = [first + n for n in itertools.accumulate(batch["n"].to_pylist())]
        self.total.put(batch, sums)
        return batch.with_column("total", sums)


class Numbered(Processor):
    """Numbers rows; its count is its snapshot."""

    seen = 0

    def process(self, batch: Batch) -> Batch:
        first, self.seen = self.seen, self.seen + len(batch)
        return batch.with_column("row", list(range(first, self.seen)))

    def snapshot(self) -> bytes:
        return str(self.seen).encode()

    def restore(self, data: bytes) -> None:
        self.seen = int(data)


@source
def counting(position: int = 0) -> Any:
    """Numbers, ten to a batch."""
    for start in range(position, 100, 10):
        yield {"k": [0] * 10, "n": list(range(start, start + 10))}, start + 10


PASSES = [(), (1,), (3,), (10,), (1, 3)]


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("step", [Sums, Numbered])
@pytest.mark.parametrize("op", ["process", "read"])
def test_what_a_lost_guest_did_is_repeated_and_nothing_is_doubled(
    op: str, step: Any, passes: tuple[int, ...], tmp_path: Path
) -> None:
    made = mortals([counting, step], nth(op, *passes))
    flow = Flow("lost", base=tmp_path)
    flow.checkpoint = {"interval": 0.01}
    behind = flow.source("numbers", made["source:counting"])
    behind.step("step", made[f"processor:{step.spec.name}"]).sink("out", Collected)
    outcome = flow.run()
    assert outcome.status == "finished", outcome.problems
    rows = COLLECTED
    assert sorted(row["n"] for row in rows) == list(range(100))
    column = "total" if step is Sums else "row"
    wanted = list(itertools.accumulate(range(100))) if step is Sums else list(range(100))
    assert sorted(row[column] for row in rows) == wanted


def test_a_guest_that_dies_of_the_same_batch_twice_is_a_failed_step() -> None:
    made = mortals([Sums, counting], nth("process", *range(1, 50)))["processor:sums"]()
    driver = driver_for(made, Context(state=MemoryState()))
    batch = Batch.of({"k": [1], "n": [1]})
    driver.plan({"": Schema(batch.schema)})  # type: ignore[attr-defined]
    driver.open(Resume())
    kinds = []
    for _ in range(3):
        with pytest.raises(GuestLost) as caught:
            driver.process(batch)  # type: ignore[attr-defined]
        kinds.append(caught.value.problems[0].kind)
    assert kinds == ["retry", "fatal", "fatal"]
    assert "`mortal` was lost in `process`" in str(caught.value)
    assert "exit code 3" in str(caught.value)


def test_an_instance_with_a_snapshot_of_its_own_takes_the_epoch_with_it() -> None:
    made = mortals([Numbered], nth("process", 2))["processor:numbered"]()
    driver = driver_for(made, Context())
    batch = Batch.of({"n": [1]})
    driver.plan({"": Schema(batch.schema)})  # type: ignore[attr-defined]
    driver.open(Resume())
    driver.process(batch)  # type: ignore[attr-defined]
    with pytest.raises(InstanceLost):
        driver.process(batch)  # type: ignore[attr-defined]


def test_a_sink_that_dies_in_commit_loses_what_it_was_given_of_the_next_epoch() -> None:
    made = mortals([Collected], nth("commit", 1))["sink:collected"]()
    driver, batch = driver_for(made, Context()), Batch.of({"n": [1]})
    assert isinstance(driver, SinkDriver)
    driver.plan(Schema(batch.schema))
    driver.open(Resume())
    driver.begin(1)
    driver.write(batch)
    token = driver.prepare(1, False)
    driver.begin(2)
    driver.write(batch)
    with pytest.raises(GuestLost) as caught:
        driver.commit(1, [token])
    assert caught.value.problems[0].kind == "retry"
    driver.commit(1, [token])
    for call in (lambda: driver.write(batch), lambda: driver.prepare(2, False)):
        with pytest.raises(InstanceLost):
            call()


def test_a_sink_that_dies_in_commit_and_held_nothing_goes_on() -> None:
    made = mortals([Collected], nth("commit", 1))["sink:collected"]()
    driver, batch = driver_for(made, Context()), Batch.of({"n": [1]})
    assert isinstance(driver, SinkDriver)
    driver.plan(Schema(batch.schema))
    driver.open(Resume())
    driver.begin(1)
    driver.write(batch)
    token = driver.prepare(1, False)
    with pytest.raises(GuestLost):
        driver.commit(1, [token])
    driver.commit(1, [token])
    driver.begin(2)
    driver.write(batch)
    assert driver.prepare(2, True) == [{"n": 1}]


def test_a_component_that_is_not_open_is_not_called() -> None:
    made = as_guests(COMPONENTS)["processor:times"]()
    driver = driver_for(made, Context())
    batch = Batch.of({"n": [1]})
    driver.plan({"": Schema(batch.schema)})  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="while it is not open"):
        driver.process(batch)  # type: ignore[attr-defined]


def test_a_description_that_is_none_is_refused() -> None:
    guests = Guests(lambda: InProcess(COMPONENTS))
    for told in (
        {},
        {"protocol": 2, "components": []},
        {"protocol": 1, "components": [{"kind": "store", "name": "x"}]},
    ):
        with pytest.raises(ConfigError):
            component_classes(told, guests, Limits(), "strange")


@pytest.mark.parametrize("api", [["1.2"], ["2.0", "2.1"], [], "1.1", None])
def test_a_guest_that_speaks_no_version_of_this_host_is_refused_before_it_is_called(api: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        component_classes({"protocol": 1, "api": api, "components": []}, Guests(fails), Limits(), "newer")
    assert (refused.value.code, "update the host" in str(refused.value.problems[0].fix)) == ("guest.api", True)


def test_a_newer_guest_that_still_speaks_this_contract_is_taken() -> None:
    assert (
        component_classes({"protocol": 1, "api": ["1.1", "1.2"], "components": []}, Guests(fails), Limits(), "new")
        == []
    )


def fails() -> Any:
    raise AssertionError("the guest was started")


def test_limits_are_the_least_of_all() -> None:
    limits = Limits.of({"memory": "64MiB", "wall_per_batch": "2s"}, {"memory": "32MiB"}, None)
    assert limits == Limits(memory=32 << 20, wall_per_batch=2.0)
    for wrong in ({"memroy": 1}, {"memory": "much"}):
        with pytest.raises(ConfigError):
            Limits.of(wrong)
