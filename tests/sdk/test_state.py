"""State by key: declared, per call all or nothing, expiring by the batches' clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import Batch, Columns, ConfigError, Context, Processor, Reject, State, processor, state
from dataflare.context import FixedClock
from dataflare.drive import driver_for
from dataflare.memory import MemoryState, MemoryTimers


class Dedupe(Processor, by="key"):
    """Rows not seen before."""

    key: Columns
    ttl: float | None = None
    seen: State[bool] = state(ttl="ttl")

    def process(self, batch: Batch) -> Batch:
        known = self.seen.get(batch)
        self.seen.put(batch, [True] * len(batch))
        return batch.filter(pa.array([value is None for value in known]))


def running(thing, **config):
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    ctx = Context(state=MemoryState(clock), clock=clock)
    return driver_for(getattr(thing, "__dataflare__", thing)(**config), ctx), ctx


def call(driver, ctx, rows):
    done = driver.process(Batch.of(rows))
    ctx.state.apply()
    return [row for _, batch in done.outputs for row in batch.to_rows()]


def test_state_is_kept_by_the_key_columns_alone():
    driver, ctx = running(Dedupe, key="id")
    assert call(driver, ctx, [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}]) == [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}]
    assert call(driver, ctx, [{"id": 2, "x": "c"}, {"id": 3, "x": "d"}]) == [{"id": 3, "x": "d"}]


def test_state_expires_by_the_clock_of_the_batches():
    driver, ctx = running(Dedupe, key=("id",), ttl=60.0)
    assert call(driver, ctx, [{"id": 1}])
    ctx.clock.time += timedelta(seconds=59)
    assert not call(driver, ctx, [{"id": 1}])
    ctx.clock.time += timedelta(seconds=60)
    assert call(driver, ctx, [{"id": 1}])


def test_a_discarded_call_wrote_nothing():
    driver, ctx = running(Dedupe, key="id")
    driver.process(Batch.of([{"id": 1}]))
    ctx.state.discard()
    assert call(driver, ctx, [{"id": 1}]) == [{"id": 1}]


def test_a_state_needs_a_key_and_a_store():
    class Unkeyed(Processor):
        """Unkeyed."""

        seen: State[int] = state()

        def process(self, batch):
            return batch

    with pytest.raises(ConfigError, match=r"state\.no_key"):
        driver_for(Unkeyed(), Context())
    with pytest.raises(ConfigError, match=r"state\.unavailable"):
        Dedupe(key="id").seen.get(Batch.of([{"id": 1}]))


@dataclass
class Total:
    rows: int = 0
    last: list[str] = field(default_factory=list)


@processor(each="key", by="by")
def counted(key, batch: Batch, state: Total, *, by: Columns):
    """Rows of each key so far."""
    if "bad" in batch["x"].to_pylist():
        state.rows += 1000
        raise Reject("bad", "a bad row")
    state.rows += len(batch)
    state.last = batch["x"].to_pylist()
    return [{"key": key, "rows": state.rows}]


def test_a_function_is_called_by_key_with_its_state():
    driver, ctx = running(counted, by="id")
    rows = [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}, {"id": 1, "x": "c"}]
    assert call(driver, ctx, rows) == [{"key": 1, "rows": 2}, {"key": 2, "rows": 1}]
    assert call(driver, ctx, rows[:1]) == [{"key": 1, "rows": 3}]
    assert sorted(value["rows"] for value in ctx.state.items("state").values()) == [1, 3]


def test_a_rejected_key_leaves_its_state_as_it_was():
    driver, ctx = running(counted, by="id")
    call(driver, ctx, [{"id": 1, "x": "a"}])
    done = driver.process(Batch.of([{"id": 2, "x": "b"}, {"id": 1, "x": "bad"}, {"id": 1, "x": "c"}]))
    ctx.state.apply()
    assert [(entry.code, entry.rows.to_pylist()) for entry in done.rejected] == [("bad", [1, 2])]
    assert sorted(value["rows"] for value in ctx.state.items("state").values()) == [1, 1]


def test_several_key_columns_are_a_dict():
    @processor(each="key", by="by")
    def keys_of(key, *, by: Columns):
        return [{"key": str(key)}]

    driver, ctx = running(keys_of, by=["a", "b"])
    assert call(driver, ctx, [{"a": 1, "b": "x"}]) == [{"key": "{'a': 1, 'b': 'x'}"}]


def test_a_state_that_cannot_change_in_place_is_refused():
    @processor(each="key", by="by")
    def fixed(key, state: int, *, by: Columns): ...

    with pytest.raises(ConfigError, match=r"step\.state_type"):
        running(fixed, by="id")


def test_containers_in_state_are_not_shared():
    class Lists(Processor, by="key"):
        """Lists."""

        key: Columns
        held: State[list[int]] = state()

        def process(self, batch: Batch):
            (held,) = self.held.get(batch)
            held = held or []
            held.append(1)
            if not held[1:]:
                self.held.put(batch, [held])
            held.append(2)
            return [{"length": len(held)}]

    driver, ctx = running(Lists, key="id")
    ctx.state.apply()
    assert call(driver, ctx, [{"id": 1}]) == [{"length": 2}]
    assert call(driver, ctx, [{"id": 1}]) == [{"length": 3}]
    assert list(ctx.state.items("held").values()) == [[1]]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from([b"a", b"b", b"c"]), st.one_of(st.none(), st.integers())),
            st.tuples(st.sampled_from(["apply", "discard", "reload"]), st.none(), st.none()),
        )
    )
)
def test_memory_state_is_a_dict_with_transactions(steps):
    kept, aside = {}, {}
    tested = MemoryState()
    for word, key, value in steps:
        if word == "put":
            tested.put("s", [key], [value], None)
            aside[key] = value
        elif word == "apply":
            tested.apply()
            kept.update(aside)
            aside = {}
        elif word == "discard":
            tested.discard()
            aside = {}
        else:
            other = MemoryState()
            other.load(tested.dump())
            tested, aside = other, {}
        assert tested.get("s", [b"a", b"b", b"c"]) == [{**kept, **aside}.get(k) for k in (b"a", b"b", b"c")]


def test_timers_come_due_in_order_and_survive_a_dump():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    timers = MemoryTimers(["id"])
    keys = Batch.of({"id": [1, 2, 3], "x": ["a", "b", "c"]})
    timers.set(keys, [start + timedelta(seconds=n) for n in (3, 1, 9)])
    timers.drop(keys.filter(pc.equal(keys["id"], 3)))
    assert timers.take_due(start + timedelta(hours=1)) == []
    timers.apply()
    restored = MemoryTimers(["id"])
    restored.load(timers.dump())
    for each in (timers, restored):
        due = each.take_due(start + timedelta(seconds=5))
        assert [(time.second, found.to_rows()) for time, found in due] == [(1, [{"id": 2}]), (3, [{"id": 1}])]
        assert each.take_due(start + timedelta(hours=1)) == []
