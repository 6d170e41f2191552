"""The testing kit: it runs components, and its suites fail those that break what they declare."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dataflare import (
    Batch,
    Columns,
    ConfigError,
    Failed,
    Idle,
    Processor,
    Reject,
    Retry,
    Sink,
    Source,
    Split,
    State,
    field,
    processor,
    sink,
    source,
    state,
    tool,
)
from dataflare.testing import (
    Bench,
    Epochs,
    call,
    context,
    process,
    processor_suite,
    read,
    sink_suite,
    source_suite,
    write,
)


@source
def numbers(position: int = 0, *, count: int = 1_000, step: int = 100):
    """Whole numbers from zero, `step` to a batch."""
    for start in range(position, count, step):
        end = min(start + step, count)
        yield {"n": range(start, end)}, end


class Regions(Source[int]):
    """Rows of regions, the second after the first."""

    def splits(self):
        return [Split("us", after=("eu",), start=1), Split("eu")]

    def read(self, split: Split, position: int = 0):
        for n in range(position, 3):
            yield [{"at": f"{split.id}{n}"}], n + 1


@processor(cardinality="one")
def with_vat(batch: Batch, *, rate: float = 0.2) -> Batch:
    """Add the column `gross`; a negative `net` is rejected."""
    batch = batch.reject(pc.less(batch["net"], 0), "negative_net", "`net` must not be negative")
    return batch.with_column("gross", pc.multiply(batch["net"], 1 + rate))


class Dedupe(Processor, by="key", cardinality="filter"):
    """Rows not seen before."""

    key: Columns
    seen: State[bool] = state()

    def process(self, batch: Batch) -> Batch:
        known = self.seen.get(batch)
        self.seen.put(batch, [True] * len(batch))
        return batch.filter(pa.array([value is None for value in known]))


class Lines(Sink[str], ability="staged"):
    """One file an epoch, published by name."""

    folder: Path = field(help="Where the files appear.")

    def begin(self, epoch, ctx):
        self.folder.mkdir(exist_ok=True)
        self.path = self.folder / f"{ctx.name(epoch)}.aside"
        self.aside = self.path.open("w")

    def write(self, batch: Batch):
        batch = batch.reject(pc.equal(batch["n"], 13), "unlucky")
        self.aside.writelines(json.dumps(row) + "\n" for row in batch.to_rows())

    def prepare(self, epoch) -> str:
        self.aside.close()
        return self.path.name

    def commit(self, epoch, tokens: list[str]):
        for token in tokens:
            if (self.folder / token).exists():
                (self.folder / token).rename(self.folder / token.replace(".aside", ".jsonl"))

    def abort(self, epoch, tokens: list[str]):
        self.aside.close()
        for path in {self.path, *(self.folder / token for token in tokens)}:
            path.unlink(missing_ok=True)

    def readback(self, stream):
        for path in sorted(self.folder.glob("*.jsonl")):
            yield [json.loads(line) for line in path.read_text().splitlines()]


TestNumbers = source_suite(numbers, count=10, step=4)
TestRegions = source_suite(Regions)
TestVat = processor_suite(with_vat, [[{"net": 1.0}, {"net": -1.0}], [{"net": 2.5}]], rate=0.5)
TestDedupe = processor_suite(Dedupe, [[{"id": 1}], [{"id": 1}, {"id": 2}], [{"id": 2}]], lambda _: {"key": "id"})
TestLines = sink_suite(Lines, [{"n": 1}, {"n": 2}, {"n": 3}], lambda folder: {"folder": folder / "out"})


def test_read_gives_rows_batches_and_positions():
    found = read(numbers, count=10, step=4)
    assert found.positions == [4, 8, 10]
    assert [len(batch) for batch in found.batches] == [4, 4, 2]
    assert found.rows == [{"n": n} for n in range(10)]
    assert read(numbers, count=10, step=4, position=8).rows == [{"n": 8}, {"n": 9}]
    assert read(numbers, limit=150).positions == [100, 200]


def test_read_takes_splits_in_their_order_from_their_start():
    assert read(Regions).splits == {
        "eu": [{"at": "eu0"}, {"at": "eu1"}, {"at": "eu2"}],
        "us": [{"at": "us1"}, {"at": "us2"}],
    }
    assert [row["at"] for row in read(Regions, split="us").rows] == ["us1", "us2"]


def test_read_refuses_splits_that_wait_for_each_other():
    class Circle(Regions):
        """Circle."""

        def splits(self):
            return [Split("a", after=("b",)), Split("b", after=("a",))]

    with pytest.raises(Failed, match=r"source\.splits"):
        read(Circle)


def test_read_goes_on_after_a_retry_and_ends_when_nothing_comes():
    tries = itertools.count()

    @source
    def flaky(position: int = 0):
        """Flaky."""
        yield [{"n": position}], position + 1
        if next(tries) < 3:
            raise Retry(60)
        while True:
            yield Idle(after=1)

    assert read(flaky).rows == [{"n": n} for n in range(4)]


def test_process_gives_rows_and_rejects():
    made = process(with_vat, [{"net": 1.0}, {"net": -1.0}], [{"net": 2.0}], rate=1.0)
    assert made.rows == [{"net": 1.0, "gross": 2.0}, {"net": 2.0, "gross": 4.0}]
    assert [(reject.row, reject.code) for reject in made.rejects] == [({"net": -1.0}, "negative_net")]


def test_process_refuses_the_whole_batch_where_the_author_does():
    @processor
    def never(batch: Batch) -> Batch:
        """Never."""
        if len(batch):
            raise Reject("never", "no")
        return batch

    assert [reject.code for reject in process(never, [{"n": 1}, {"n": 2}]).rejects] == ["never", "never"]


def test_a_bench_steps_through_timers_and_snapshots():
    start = datetime(2026, 1, 1, tzinfo=UTC)

    class Quiet(Processor, by="key"):
        """Tells which keys fell quiet."""

        key: Columns

        def plan(self, schema):
            return {"key": int}

        def process(self, batch: Batch, ctx):
            ctx.timers.set(batch, start + timedelta(seconds=10), event=False)
            ctx.timers.set(batch, start + timedelta(seconds=5))

        def timer(self, keys, time):
            return [{"key": row["id"]} for row in keys.to_rows()]

    with Bench(Quiet, key="id") as bench:
        bench.feed([{"id": 7}])
        assert bench.advance(9).rows == []
        assert bench.watermark(start + timedelta(seconds=6)).rows == [{"key": 7}]
        snapshot = bench.snapshot()
        assert bench.advance(1).rows == [{"key": 7}]
        assert bench.advance(60).rows == []
    with Bench(Quiet, snapshot=snapshot, key="id") as again:
        assert again.advance(11).rows == [{"key": 7}]


def test_write_commits_epoch_by_epoch(tmp_path):
    written = write(Lines, [{"n": 1}], [{"n": 13}, {"n": 2}], folder=tmp_path)
    assert written.rows == [{"n": 1}, {"n": 2}]
    assert [(reject.row, reject.code) for reject in written.rejects] == [({"n": 13}, "unlucky")]
    assert len(set(written.tokens)) == 2


def test_epochs_are_stepped_by_hand(tmp_path):
    with Epochs(Lines, folder=tmp_path) as sink:
        token = sink.prepare(1, [{"n": 1}])
        assert sink.rows() == []
        sink.commit(1, token)
        assert sink.rows() == [{"n": 1}]


def test_call_answers():
    @tool
    def tax_of(net: float, country: str = "FR", *, rates: dict[str, float]) -> float:
        """The tax on a net price."""
        return net * rates[country]

    assert call(tax_of, {"net": 100}, rates={"FR": 0.5}) == 50


def test_what_is_not_a_component_of_that_kind_is_refused():
    with pytest.raises(ConfigError, match=r"testing\.component"):
        read(with_vat)
    with pytest.raises(ConfigError, match=r"testing\.component"):
        read(list)
    with pytest.raises(ConfigError, match=r"testing\.component"):
        read(Regions(), more=1)
    with pytest.raises(ConfigError, match=r"testing\.context"):
        context(nothing=1)


def test_a_sink_suite_needs_somebody_who_can_read():
    @sink
    def blind(batch):
        """Blind."""

    with pytest.raises(ConfigError, match=r"testing\.readback"):
        sink_suite(blind, [{"n": 1}])


def failures(suite):
    """The tests of a suite that fail."""
    failed = []
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite(), name)()
            except Exception:
                failed.append(name)
    return failed


def test_the_source_suite_finds_positions_that_do_not_resume():
    @source
    def forgets(position: int = 0):
        """Forgets where it was."""
        for n in range(4):
            yield [{"n": n}], n + 1

    @source
    def unplaced(position: int = 0):
        """Gives no position at the end."""
        if not position:
            yield [{"n": 1}], 1
        yield [{"n": 2}]

    drawn = itertools.count()

    @source
    def fickle(position: int = 0):
        """Gives other rows each time."""
        yield [{"n": next(drawn)}], 1

    assert failures(source_suite(forgets)) == ["test_every_position_resumes_exactly"]
    assert failures(source_suite(unplaced)) == ["test_the_last_rows_have_a_position"]
    assert failures(source_suite(fickle)) == [
        "test_every_position_resumes_exactly",
        "test_reading_twice_gives_the_same",
    ]


def test_the_source_suite_finds_rows_that_are_not_as_planned():
    @source(rows={"n": int})
    def other(position: int = 0):
        """Other columns than planned."""
        if not position:
            yield pa.table({"m": [1]}), 1

    assert failures(source_suite(other)) == ["test_the_rows_have_the_planned_columns"]


def test_the_processor_suite_finds_memory_outside_of_state():
    class Remembers(Processor):
        """Numbers rows, from memory."""

        def open(self):
            self.count = 0

        def plan(self, schema):
            return schema.with_column("i", int)

        def process(self, batch: Batch):
            first, self.count = self.count, self.count + len(batch)
            return batch.with_column("i", list(range(first, self.count)))

    batches = [[{"n": 1}], [{"n": 2}]]
    assert failures(processor_suite(Remembers, batches)) == ["test_a_snapshot_continues_exactly"]


def test_the_processor_suite_finds_lost_rows_and_broken_plans():
    @processor(cardinality="one")
    def loses(batch: Batch) -> Batch:
        """Loses a row."""
        return batch.slice(1)

    class Broken(Processor):
        """Gives what it has not planned."""

        def plan(self, schema):
            return {"out": schema}

        def process(self, batch):
            yield batch.with_column("more", 1)

    assert failures(processor_suite(loses, [[{"n": 1}], [{"n": 2}]])) == ["test_a_row_is_passed_or_refused"]
    assert "test_the_plan_holds" in failures(processor_suite(Broken, [[{"n": 1}]]))


def test_the_sink_suite_finds_what_shows_too_early_and_what_doubles(tmp_path):
    class Eager(Sink[int], ability="staged"):
        """Writes at once."""

        folder: Path

        def write(self, batch):
            with (self.folder / "rows").open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in batch.to_rows())

        def readback(self, stream):
            path = self.folder / "rows"
            yield [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    failed = failures(sink_suite(Eager, [{"n": 1}, {"n": 2}], lambda folder: {"folder": folder}))
    assert failed == [
        "test_an_abort_leaves_nothing",
        "test_an_epoch_lost_in_a_crash_may_come_again",
        "test_nothing_shows_before_the_commit",
    ]


def test_the_suites_want_a_docstring():
    @source
    def nameless(position: int = 0):
        if not position:
            yield [{"n": 1}], 1

    assert failures(source_suite(nameless)) == ["test_it_says_what_it_is"]
