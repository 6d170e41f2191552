"""Processors through their driver: outputs, rejects, origins, plans."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypedDict

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import Batch, ConfigError, Context, Out, Processor, Reject, Retry, Schema, processor
from dataflare.drive import MAIN, ProcessorDriver, driver_for


def drive(thing, ctx=None, **config):
    driver = driver_for(getattr(thing, "__dataflare__", thing)(**config), ctx or Context())
    assert isinstance(driver, ProcessorDriver)
    return driver


def rows_of(processed, name=MAIN):
    return [row for output, batch in processed.outputs if output == name for row in batch.to_rows()]


def rejects_of(processed):
    return [(entry.code, entry.rows.to_pylist()) for entry in processed.rejected]


@processor
def with_vat(batch: Batch, *, rate: float = 0.5) -> Batch:
    """Add gross."""
    batch = batch.reject(pc.less(batch["net"], 0), "negative_net", "`net` must not be negative")
    return batch.with_column("gross", pc.multiply(batch["net"], 1 + rate))


NETS = Batch.of({"net": [1.0, -1.0, 4.0]})


def test_batch_wise_rows_and_rejects():
    done = drive(with_vat).process(NETS)
    assert rows_of(done) == [{"net": 1.0, "gross": 1.5}, {"net": 4.0, "gross": 6.0}]
    assert rejects_of(done) == [("negative_net", [1])]


def test_the_next_call_starts_with_no_rejects():
    driver = drive(with_vat)
    driver.process(NETS)
    assert rejects_of(driver.process(Batch.of({"net": [-1.0]}))) == [("negative_net", [0])]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.integers(-5, 5), st.integers(-5, 5))
def test_rows_are_given_or_rejected_each_once_whatever_was_derived(numbers, low, high):
    @processor
    def tangled(batch: Batch) -> Batch:
        batch = batch.with_column("twice", pc.multiply(batch["n"], 2)).take(list(range(len(batch)))[::-1])
        batch = batch.reject(pc.less(batch["n"], low), "low")
        return batch.reject(pc.greater(batch["n"], high), "high")

    done = drive(tangled).process(Batch.of({"n": numbers}))
    refused = dict(rejects_of(done))
    assert sorted(refused.get("low", [])) == [i for i, n in enumerate(numbers) if n < low]
    assert sorted(refused.get("high", [])) == [i for i, n in enumerate(numbers) if n >= low and n > high]
    assert sorted(row["n"] for row in rows_of(done)) == sorted(n for n in numbers if low <= n <= high)


def test_rejected_rows_are_never_passed_on_too():
    @processor
    def forgetful(batch: Batch) -> Batch:
        batch.reject(pc.equal(batch["n"], 2), "two")
        batch.reject(pc.less(batch["n"], 3), "small")
        return batch

    done = drive(forgetful).process(Batch.of({"n": [1, 2, 3]}))
    assert rows_of(done) == [{"n": 3}]
    assert rejects_of(done) == [("two", [1]), ("small", [0])]


def test_as_many_rows_from_elsewhere_are_taken_row_by_row():
    @processor
    def through_polars(batch: Batch):
        batch.reject(pc.equal(batch["n"], 2), "two")
        return batch.to_polars().with_columns(m=pl.col("n") * 10)

    assert rows_of(drive(through_polars).process(Batch.of({"n": [1, 2, 3]}))) == [{"n": 1, "m": 10}, {"n": 3, "m": 30}]


def test_generators_outputs_none_and_lists():
    @processor(outputs=("late",))
    def spread(batch: Batch):
        yield None
        yield Out("late", batch.filter(pc.less(batch["n"], 2)))
        yield batch.filter(pc.greater_equal(batch["n"], 2))
        yield [{"n": 9}]

    @processor(outputs=("late",))
    def listed(batch: Batch):
        return [Out("late", batch), batch]

    done = drive(spread).process(Batch.of({"n": [1, 2, 3]}))
    assert rows_of(done, "late") == [{"n": 1}]
    assert rows_of(done) == [{"n": 2}, {"n": 3}, {"n": 9}]
    assert [name for name, _ in drive(listed).process(NETS).outputs] == ["late", "out"]


def test_none_passes_nothing_on():
    @processor
    def swallow(batch: Batch) -> None:
        return None

    done = drive(swallow).process(NETS)
    assert (done.outputs, done.rejected) == ([], [])


def test_what_the_author_raises_comes_through():
    @processor
    def moody(batch: Batch, *, retry: bool):
        if len(batch):
            raise Retry(1.5) if retry else Reject("no", "never")
        return batch

    with pytest.raises(Retry):
        drive(moody, retry=True).process(NETS)
    with pytest.raises(Reject):
        drive(moody, retry=False).process(NETS)


def test_row_by_row_drops_explodes_rejects_and_spreads():
    @processor(each="row", outputs=("odd",))
    def rowwise(row: dict):
        if row["n"] == 0:
            return None
        if row["n"] < 0:
            raise Reject("negative", "below zero")
        if row["n"] % 2:
            return Out("odd", row)
        return [row, row]

    done = drive(rowwise).process(Batch.of({"n": [-1, 0, 1, 2, -2]}))
    assert rows_of(done) == [{"n": 2}, {"n": 2}]
    assert rows_of(done, "odd") == [{"n": 1}]
    assert rejects_of(done) == [("negative", [0, 4])]


def test_row_by_row_a_new_column_must_be_planned():
    @processor(each="row")
    def adding(row: dict) -> dict:
        return {**row, "new": 1}

    @processor(each="row", adds={"new": int})
    def declared(row: dict) -> dict:
        return {**row, "new": None}

    with pytest.raises(ConfigError) as caught:
        drive(adding).process(NETS)
    assert caught.value.code == "step.unknown_column"
    assert "`new`" in str(caught.value)
    done = drive(declared).process(NETS)
    assert done.outputs[0][1].schema == pa.schema({"net": pa.float64(), "new": pa.int64()})


@dataclass
class Net:
    net: float


class Gross(TypedDict):
    net: float
    gross: float


def test_row_by_row_in_the_authors_types():
    @processor(each="row")
    def typed(row: Net) -> Gross:
        assert isinstance(row, Net)
        return {"net": row.net, "gross": row.net * 2}

    driver = drive(typed)
    assert driver.plan({"": Schema({"net": float})})[MAIN].names == ["net", "gross"]
    done = driver.process(Batch.of({"net": [1.0, None]}))
    assert rows_of(done) == [{"net": 1.0, "gross": 2.0}]
    assert rejects_of(done) == [("row.type", [1])]


def test_dataclasses_and_generators_row_by_row():
    @processor(each="row")
    def doubled(row: Net):
        yield row
        yield Net(row.net * 2)

    assert rows_of(drive(doubled).process(Batch.of({"net": [1.0]}))) == [{"net": 1.0}, {"net": 2.0}]


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 5))
def test_async_rows_keep_their_order_and_overlap_at_most_in_flight(numbers, most):
    running, peak = 0, 0

    @processor(each="row", in_flight=most)
    async def slow(row: dict):
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1
        if row["n"] == 0:
            raise Reject("zero")
        return row

    driver = drive(slow)
    done = driver.process(Batch.of({"n": pa.array(numbers, pa.int64())}))
    driver.close()
    assert [row["n"] for row in rows_of(done)] == [n for n in numbers if n]
    assert [i for _, rows in rejects_of(done) for i in rows] == [i for i, n in enumerate(numbers) if not n]
    assert peak <= most
    assert running == 0


def test_async_batches_are_cut_and_overlap():
    gathered = []

    @processor(size=2, in_flight=3)
    async def slow(batch: Batch):
        gathered.append(len(batch))
        await asyncio.sleep(0)
        return batch.reject(pc.equal(batch["n"], 3), "three")

    driver = drive(slow)
    driver.plan({"": Schema({"n": int})})
    gathered.clear()
    done = driver.process(Batch.of({"n": [1, 2, 3, 4, 5]}))
    driver.close()
    assert gathered == [2, 2, 1]
    assert [row["n"] for row in rows_of(done)] == [1, 2, 4, 5]
    assert rejects_of(done) == [("three", [2])]


def test_an_error_in_flight_ends_the_others():
    ended = []

    @processor(each="row", in_flight=4)
    async def failing(row: dict):
        try:
            if row["n"] == 1:
                raise OSError("broken")
            await asyncio.sleep(60)
        finally:
            ended.append(row["n"])

    driver = drive(failing)
    with pytest.raises(OSError, match="broken"):
        driver.process(Batch.of({"n": [0, 1, 2]}))
    driver.close()
    assert sorted(ended) == [0, 1, 2]


def test_plan_by_a_dry_run_without_rows():
    assert drive(with_vat).plan({"": Schema({"net": float})})[MAIN] == Schema({"net": float, "gross": float})


def test_a_dry_run_that_cannot_work_is_a_problem_before_the_start():
    with pytest.raises(ConfigError) as missing:
        drive(with_vat).plan({"": Schema({"gross": float})})
    assert missing.value.code == "plan.column"
    with pytest.raises(ConfigError) as wrong:
        drive(with_vat).plan({"": Schema({"net": str})})
    assert wrong.value.code == "plan.types"
    assert "`net` (string)" in str(wrong.value)


@pytest.mark.parametrize("work", [lambda batch: batch["n"][0], lambda batch: pc.max(batch["n"]).as_py() + 1])
def test_a_dry_run_that_only_misses_rows_leaves_the_schema_open(work):
    @processor
    def needy(batch: Batch):
        work(batch)
        return batch

    assert drive(needy).plan({"": Schema({"n": int})})[MAIN].open


@pytest.mark.parametrize("made", [lambda n: [{"m": i} for i in n], lambda n: {"m": [i * 2 for i in n]}])
def test_a_dry_run_on_python_values_tells_nothing(made):
    @processor
    def listed(batch: Batch):
        return made(batch["n"].to_pylist())

    driver = drive(listed)
    assert driver.plan({"": Schema({"n": int})})[MAIN].open
    assert len(rows_of(driver.process(Batch.of({"n": [1, 2]})))) == 2


def test_a_dry_run_finds_a_mistake_in_the_code():
    @processor
    def misspelt(batch: Batch):
        return batch.filtr([])

    with pytest.raises(ConfigError, match=r"plan\.types[\s\S]*filtr"):
        drive(misspelt).plan({"": Schema({"n": int})})


def test_a_plan_of_its_own_wins_and_may_refuse():
    class Strict(Processor, outputs=("late",)):
        """Strict."""

        def plan(self, schema: Schema):
            if "n" not in schema:
                raise ConfigError.of("strict.n", "`n` is missing")
            return {"out": schema.with_column("m", float), "late": schema}

        def process(self, batch):
            return [{"n": 1, "m": 2}]

    planned = drive(Strict).plan({"": Schema({"n": int})})
    assert {name: schema.names for name, schema in planned.items()} == {"out": ["n", "m"], "late": ["n"]}
    with pytest.raises(ConfigError, match=r"strict\.n"):
        drive(Strict).plan({"": Schema({"x": int})})


def test_results_take_the_planned_types():
    class Planned(Processor):
        """Planned."""

        def plan(self):
            return {"n": int, "m": float}

        def process(self, batch):
            return [{"n": 1, "m": 2}, {"n": None}]

    driver = drive(Planned)
    driver.plan({"": Schema({"n": int})})
    ((_, made),) = driver.process(Batch.of({"n": [1]})).outputs
    assert made.schema == pa.schema({"n": pa.int64(), "m": pa.float64()})
    assert made.to_rows() == [{"n": 1, "m": 2.0}, {"n": None, "m": None}]


def test_what_has_effects_is_not_called_to_plan():
    calls = []

    @processor(effects="writes")
    def acting(batch: Batch):
        calls.append(1)
        return batch

    assert drive(acting).plan({"": Schema({"n": int})})[MAIN] == Schema(open=True)
    assert calls == []


def test_what_open_makes_is_not_needed_to_plan():
    class Late(Processor):
        """Late."""

        def open(self):
            self.factor = 2

        def process(self, batch: Batch):
            return batch.with_column("m", pc.multiply(batch["n"], self.factor))

    driver = drive(Late)
    assert driver.plan({"": Schema({"n": int})})[MAIN].open
    driver.open()
    assert driver.plan({"": Schema({"n": int})})[MAIN].names == ["n", "m"]


def test_watermark_finish_and_timer_are_empty_unless_written():
    driver = drive(with_vat)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for done in (driver.finish(), driver.watermark(now), driver.timer(NETS, now)):
        assert (done.outputs, done.rejected) == ([], [])


def test_finish_and_snapshot_of_a_processor_that_counts():
    class Count(Processor):
        """Count."""

        def open(self):
            self.rows = 0

        def process(self, batch: Batch):
            self.rows += len(batch)

        def finish(self):
            return [{"rows": self.rows}]

        def snapshot(self):
            return str(self.rows).encode()

        def restore(self, data, version):
            self.rows = int(data)

    first = drive(Count)
    first.open()
    first.process(NETS)
    second = drive(Count)
    second.open()
    second.restore(first.snapshot(), 1)
    second.process(NETS)
    assert rows_of(second.finish()) == [{"rows": 6}]


def test_the_input_of_a_join_is_told_by_name():
    @processor(inputs=("left", "right"))
    def named(batch: Batch, stream: str):
        return batch.with_column("side", stream)

    driver = drive(named)
    driver.plan({"left": Schema({"n": int}), "right": Schema({"n": int})})
    assert rows_of(driver.process(Batch.of({"n": [1]}), "right")) == [{"n": 1, "side": "right"}]
