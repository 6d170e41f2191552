"""Sources through their driver: readings, positions, splits, resuming."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import ConfigError, Context, Demand, Idle, Out, Refused, Resume, Retry, Schema, Source, Split, source
from dataflare.drive import NO_POSITION, SourceDriver, driver_for

ALL = Split("all")


def drive(thing, **config):
    made = getattr(thing, "__dataflare__", thing)(**config)
    driver = driver_for(made, Context())
    assert isinstance(driver, SourceDriver)
    return driver


def demand(seconds=60.0):
    return Demand(rows=10_000, bytes=1 << 20, until=time.monotonic() + seconds)


def read(driver, position=NO_POSITION, split=ALL, columns=None):
    return list(driver.read(split, position, demand(), columns))


@source
def numbers(position: int = 0, *, count: int = 10, step: int = 4):
    """Whole numbers."""
    for start in range(position, count, step):
        end = min(start + step, count)
        yield {"n": range(start, end)}, end


def values(readings):
    return [n for reading in readings if reading.batch is not None for n in reading.batch["n"].to_pylist()]


def test_a_function_source_gives_batches_with_the_position_of_their_end():
    readings = read(drive(numbers))
    assert [reading.position for reading in readings] == [4, 8, 10]
    assert values(readings) == list(range(10))
    assert [reading.batch.envelope.position for reading in readings] == [4, 8, 10]
    assert {reading.batch.envelope.split for reading in readings} == {"all"}


@given(count=st.integers(0, 60), step=st.integers(1, 9), after=st.integers(0, 60))
def test_resuming_at_any_position_gives_exactly_the_rest(count, step, after):
    driver = drive(numbers, count=count, step=step)
    whole = read(driver)
    cut = min(after, len(whole))
    position = whole[cut - 1].position if cut else NO_POSITION
    assert values(whole[:cut]) + values(read(driver, position)) == list(range(count))


def test_a_source_that_asks_for_the_position_replays():
    @source
    def once(*, n: int = 1):
        yield [{"n": n}]

    @source(replay="redelivery")
    def queue():
        yield [{"n": 1}]

    assert drive(numbers).replay == "position"
    assert drive(once).replay == "none"
    assert drive(queue).replay == "redelivery"


def test_rows_without_a_position_say_so():
    @source
    def three():
        yield [{"n": 1}]
        yield [{"n": 2}], None
        yield [{"n": 3}], 3

    assert [reading.position for reading in read(drive(three))] == [NO_POSITION, NO_POSITION, 3]


def test_idle_moves_on_without_rows():
    @source
    def quiet():
        yield Idle(after=0.5, position=7)
        yield Idle()

    first, second = read(drive(quiet))
    assert (first.batch, first.position, first.idle, first.after) == (None, 7, True, 0.5)
    assert (second.position, second.idle) == (NO_POSITION, True)


def test_streams_and_refused_input():
    @source
    def mixed():
        yield Refused("bad_line", "not JSON", b"{", place=3)
        yield Out("orders", [{"id": 1}]), 1
        yield Refused("bad_line", "not JSON", b"}")

    first, last = read(drive(mixed))
    assert (first.stream, first.batch.envelope.stream, first.position) == ("orders", "orders", 1)
    assert [refused.raw for refused in first.refused] == [b"{"]
    assert last.batch is None
    assert [refused.raw for refused in last.refused] == [b"}"]


def test_no_rows_are_idle_with_their_position():
    @source
    def sparse():
        yield [], 5

    assert [(r.batch, r.position, r.idle, r.after) for r in read(drive(sparse))] == [(None, 5, True, 0.0)]


@pytest.mark.parametrize("item", [3, "text", (1, 2, 3), None, b"raw", ((1,), 2)])
def test_what_is_not_rows_is_refused_with_what_is_allowed(item):
    @source
    def wrong(*, n: int = 0):
        yield item

    with pytest.raises(ConfigError) as caught:
        read(drive(wrong))
    assert caught.value.code == "source.yield"
    assert "yield rows, (rows, position)" in str(caught.value)


def test_typed_positions_travel_as_json():
    @dataclass
    class Cursor:
        at: datetime
        page: int = 0

    class Pages(Source[Cursor]):
        """Pages."""

        def read(self, position: Cursor | None = None):
            page = position.page if position else 0
            assert position is None or isinstance(position, Cursor)
            yield [{"page": page}], Cursor(datetime(2026, 1, 1, tzinfo=UTC), page + 1)

    driver = drive(Pages)
    (first,) = read(driver)
    assert first.position == {"at": "2026-01-01T00:00:00Z", "page": 1}
    assert read(driver, first.position)[0].batch.to_rows() == [{"page": 1}]


def test_a_position_that_changes_later_was_copied():
    @source
    def parts(position: dict | None = None):
        position = position or {"a": 0}
        for _ in range(3):
            position["a"] += 1
            yield [{"n": position["a"]}], position

    readings = read(drive(parts))
    assert [reading.position for reading in readings] == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_position_that_is_not_json_is_refused():
    @source
    def wrong():
        yield [{"n": 1}], object()

    with pytest.raises(ConfigError, match=r"position\.json"):
        read(drive(wrong))


def test_closing_ends_the_author_at_the_yield():
    ended = []

    @source
    def held():
        try:
            while True:
                yield [{"n": 1}]
        finally:
            ended.append("closed")

    readings = drive(held).read(ALL, NO_POSITION, demand(), None)
    next(readings)
    readings.close()
    assert ended == ["closed"]


def test_retry_ends_the_reading():
    @source
    def flaky(position: int = 0):
        yield [{"n": position}], position + 1
        raise Retry(2.0, "busy")

    readings = drive(flaky).read(ALL, NO_POSITION, demand(), None)
    assert next(readings).position == 1
    with pytest.raises(Retry) as caught:
        next(readings)
    assert caught.value.after == 2.0


def test_columns_and_demand_reach_those_who_ask():
    seen = {}

    class Wide(Source):
        """Wide."""

        def read(self, split, demand, columns, ctx):
            seen.update(split=split, rows=demand.rows, columns=columns, step=ctx.step)
            yield [{"n": 1}]

    read(drive(Wide), columns=frozenset({"n"}))
    assert seen == {"split": ALL, "rows": 10_000, "columns": frozenset({"n"}), "step": ""}


def test_splits_of_a_list_are_one_round():
    class Regions(Source[int]):
        """Regions."""

        regions: tuple[str, ...] = ("eu", "us")

        def splits(self):
            return [Split(region, start=5) for region in self.regions]

        def read(self, split: Split, position: int = 0):
            yield [{"region": split.id, "n": position}], position + 1

    driver = drive(Regions)
    assert list(driver.splits(None, frozenset())) == [([Split("eu", start=5), Split("us", start=5)], None)]


def test_splits_appear_in_rounds():
    class Growing(Source[int]):
        """Growing."""

        def splits(self, position: int = 0, finished: frozenset = frozenset()):
            yield [Split(f"s{position}")], position + 1
            yield [Split(f"s{position + 1}")], position + 2

        def read(self, split: Split):
            yield [{"n": 1}]

    rounds = list(drive(Growing).splits(3, frozenset()))
    assert [([split.id for split in found], position) for found, position in rounds] == [(["s3"], 4), (["s4"], 5)]


@pytest.mark.parametrize("found", [["a"], [Split("a"), Split("a")], [Split("")], [3]])
def test_wrong_splits_are_refused(found):
    class Wrong(Source):
        """Wrong."""

        def splits(self):
            return found

        def read(self):
            yield [{"n": 1}]

    with pytest.raises(ConfigError, match=r"source\.splits"):
        list(drive(Wrong).splits(None, frozenset()))


def test_a_source_without_splits_is_one():
    assert list(drive(numbers).splits(None, frozenset())) == [([ALL], None)]


@dataclass
class Order:
    id: int
    net: float | None = None


def test_the_schema_comes_from_annotation_rows_or_plan():
    @source
    def annotated(position: int = 0) -> Iterator[tuple[list[Order], int]]:
        yield [Order(1)], 1

    @source(rows=Order)
    def declared():
        yield [{"id": 1}]

    class Planned(Source):
        """Planned."""

        def plan(self):
            return {"a": Schema({"x": str}), "b": Schema({"y": int})}

        def read(self):
            yield Out("a", [{"x": None}])

    typed = pa.schema({"id": pa.int64(), "net": pa.float64()})
    assert drive(annotated).plan()[""].arrow.equals(typed)
    assert drive(declared).plan()[""].arrow.equals(typed)
    assert drive(numbers).plan() is None
    planned = drive(Planned)
    assert {name: schema.names for name, schema in planned.plan().items()} == {"a": ["x"], "b": ["y"]}
    assert read(planned)[0].batch.schema.field("x").type == pa.string()


def test_planned_types_hold_for_rows_that_do_not_tell_theirs():
    @source(rows={"id": int, "net": float})
    def declared():
        yield [{"id": 1, "net": None}]
        yield [{"id": 2, "net": 1.5, "more": "x"}]

    driver = drive(declared)
    driver.plan()
    first, second = read(driver)
    assert first.batch.schema == pa.schema({"id": pa.int64(), "net": pa.float64()})
    assert second.batch.columns == ["id", "net", "more"]


def test_async_sources_read_like_others():
    @source
    async def slow(position: int = 0, *, count: int = 3):
        for n in range(position, count):
            yield [{"n": n}], n + 1

    driver = drive(slow)
    assert values(read(driver)) == [0, 1, 2]
    assert values(read(driver, 2)) == [2]
    driver.close()


def test_an_async_source_that_waits_is_idle_at_the_deadline():
    import asyncio

    go = threading.Event()

    @source
    async def waiting():
        while not go.is_set():
            await asyncio.sleep(0.001)
        yield [{"n": 1}], 1

    driver = drive(waiting)
    readings = driver.read(ALL, NO_POSITION, demand(0.0), None)
    assert next(readings).idle
    go.set()
    assert any(reading.position == 1 for reading in readings)
    driver.close()


def test_an_async_acknowledge_overlaps_a_waiting_read():
    import asyncio

    class Queue(Source[int], replay="redelivery"):
        """Queue."""

        async def read(self, ctx):
            self.told = asyncio.Event()
            reading.set()
            await self.told.wait()
            yield [{"n": self.position}], 1

        async def acknowledge(self, position: int):
            self.position = position
            self.told.set()

    reading = threading.Event()
    driver = drive(Queue)

    def acknowledge():
        reading.wait(10)
        driver.acknowledge(ALL, 42)

    helper = threading.Thread(target=acknowledge)
    helper.start()
    assert values(read(driver)) == [42]
    helper.join(10)
    driver.close()


def test_a_plain_list_is_one_batch():
    @source
    def listed():
        return [{"n": 1}, {"n": 2}]

    assert values(read(drive(listed))) == [1, 2]


def test_open_and_close_are_called_once_and_close_never_raises(caplog):
    calls = []

    class Noisy(Source):
        """Noisy."""

        def open(self, ctx, resume):
            calls.append(("open", resume.epoch))

        def close(self):
            calls.append("close")
            raise OSError("gone")

        def read(self):
            yield [{"n": 1}]

    driver = drive(Noisy)
    driver.open(Resume(epoch=3))
    driver.close()
    driver.close()
    assert calls == [("open", 3), "close"]
    assert "gone" in caplog.text


def test_bytes_positions_survive():
    class Raw(Source[bytes]):
        """Raw."""

        def read(self, position: bytes = b"\x00"):
            yield [{"n": position[0]}], bytes([position[0] + 255 - position[0]])

    driver = drive(Raw)
    (first,) = read(driver)
    assert values(read(driver, first.position)) == [255]


def test_closing_the_driver_ends_what_is_being_read():
    ended = []

    @source
    def held():
        try:
            while True:
                yield [{"n": 1}]
        finally:
            ended.append("closed")

    @source
    async def held_async():
        try:
            while True:
                yield [{"n": 1}]
        finally:
            ended.append("closed too")

    for thing in (held, held_async):
        driver = drive(thing)
        readings = driver.read(ALL, NO_POSITION, demand(), None)
        next(readings)
        driver.close()
    assert ended == ["closed", "closed too"]


def test_what_is_refused_is_kept_up_to_a_bound():
    @source
    def large():
        yield Refused("bad", "too large", b"x" * 100_000)

    ((refused,),) = [reading.refused for reading in read(drive(large))]
    assert len(refused.raw) == 65_536
