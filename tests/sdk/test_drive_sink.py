"""Sinks and tools through their drivers: tokens, rejects, resources, answers."""

from dataclasses import dataclass

import pyarrow.compute as pc
import pytest

from dataflare import (
    Batch,
    ConfigError,
    Context,
    Failed,
    Reject,
    Resume,
    Retry,
    Schema,
    Sink,
    Source,
    resource,
    sink,
    source,
    tool,
)
from dataflare.component import Codec
from dataflare.drive import driver_for


def drive(thing, ctx=None, **config):
    return driver_for(getattr(thing, "__dataflare__", thing)(**config), ctx or Context())


NUMBERS = Batch.of({"n": [1, -2, 3]})


def test_a_function_sink_appends_and_may_reject():
    written = []

    @sink
    def collect(batch: Batch, ctx, *, low: int = 0):
        written.extend(batch.reject(pc.less(batch["n"], low), "low")["n"].to_pylist())

    driver = drive(collect)
    driver.begin(4)
    rejected = driver.write(NUMBERS)
    assert [(entry.code, entry.rows.to_pylist()) for entry in rejected] == [("low", [1])]
    assert written == [1, 3]
    assert driver.prepare(4, False) is None
    driver.commit(4, [None])
    driver.abort(4, [])
    assert driver.ctx.epoch == 4
    assert driver.recover() is None


def test_row_by_row_a_rejected_row_stops_nobody():
    written = []

    @sink(each="row")
    async def insert(row: dict):
        if row["n"] < 0:
            raise Reject("low", "too low")
        written.append(row["n"])

    driver = drive(insert)
    assert [(e.code, e.message, e.rows.to_pylist()) for e in driver.write(NUMBERS)] == [("low", "too low", [1])]
    assert written == [1, 3]
    driver.close()


def test_row_by_row_a_retry_names_the_rows_still_to_do():
    @sink(each="row")
    def insert(row: dict):
        if row["n"] < 0:
            raise Reject("low")
        if row["n"] == 3:
            raise Retry(0.5)

    with pytest.raises(Retry) as caught:
        drive(insert).write(NUMBERS)
    assert (caught.value.after, caught.value.rows) == (0.5, [False, True, True])


@dataclass
class Part:
    name: str
    rows: int


class Parts(Sink[Part], ability="staged"):
    """Parts."""

    def open(self, ctx, resume):
        self.live = resume.tokens
        self.published = []

    def begin(self, epoch: int):
        self.rows = 0

    def write(self, batch: Batch):
        self.rows += len(batch)

    def prepare(self, epoch: int, last: bool) -> Part | None:
        return Part(f"part-{epoch}-{last}", self.rows) if self.rows else None

    def commit(self, epoch, tokens):
        self.published += tokens


def test_tokens_travel_as_json_and_come_back_typed():
    driver = drive(Parts)
    driver.open(Resume(tokens={"0": {"name": "old", "rows": 1}}))
    driver.begin(1)
    driver.write(NUMBERS)
    token = driver.prepare(1, True)
    assert token == {"name": "part-1-True", "rows": 3}
    driver.commit(1, [token, None])
    assert driver.component.live == {"0": Part("old", 1)}
    assert driver.component.published == [Part("part-1-True", 3)]


def test_a_token_above_64_kib_is_refused():
    class Wordy(Sink):
        """Wordy."""

        def write(self, batch): ...

        def prepare(self, epoch):
            return "x" * 65536

    with pytest.raises(Failed, match=r"sink\.token_too_large"):
        drive(Wordy).prepare(1, False)


def test_a_sink_may_refuse_columns():
    class Narrow(Sink):
        """Narrow."""

        def plan(self, schema):
            if "n" not in schema:
                raise ConfigError.of("narrow.n", "`n` is missing")

        def write(self, batch): ...

    drive(Narrow).plan(Schema({"n": int}))
    with pytest.raises(ConfigError, match=r"narrow\.n"):
        drive(Narrow).plan(Schema({"m": int}))


life = []


@resource
def pool(*, size: int = 2):
    life.append(f"open {size}")
    yield [size]
    life.append("close")


def test_resources_are_given_by_name_late_and_closed():
    life.clear()

    @source
    def pooled(position: int, pool, *, size: int = 2):
        yield [{"n": pool[0]}]

    driver = drive(pooled, size=5)
    assert life == []
    from dataflare import Demand, Split

    assert next(driver.read(Split("all"), None, Demand(1, 1, 0.0), None)).batch.to_rows() == [{"n": 5}]
    assert life == ["open 5"]
    driver.open(Resume())
    driver.close()
    assert life == ["open 5", "close"]


def test_shared_resources_come_from_the_context():
    asked = []

    @sink
    def pooled(batch, pool, *, size: int = 3):
        assert pool == "shared"

    def resources(function, component):
        asked.append((function.__name__, component.size))
        return "shared"

    driver = drive(pooled, Context(resources=resources))
    driver.write(NUMBERS)
    driver.write(NUMBERS)
    assert asked == [("pool", 3)]


def test_a_tool_takes_checked_input_and_answers_in_json():
    @dataclass
    class Report:
        name: str
        late: bool

    @tool
    def report(flow: str, minutes: int = 60, *, zone: str = "UTC") -> Report:
        """A report."""
        return Report(f"{flow} {zone}", minutes > 30)

    driver = drive(report, zone="CET")
    assert list(driver.call({"flow": "a"})) == [(True, {"name": "a CET", "late": True})]
    assert set(driver.input_schema()["properties"]) == {"flow", "minutes"}
    with pytest.raises(ConfigError) as caught:
        list(driver.call({"flow": "a", "minutes": "many", "flwo": 1}))
    assert {problem.pointer for problem in caught.value.problems} == {"/minutes", "/flwo"}


def test_a_tool_tells_progress_and_then_the_answer():
    @tool
    async def slow(n: int):
        """Slow."""
        for done in range(n):
            yield {"done": done}
        yield Batch.of({"n": [n]})

    driver = drive(slow)
    assert list(driver.call({"n": 2})) == [(False, {"done": 0}), (False, {"done": 1}), (True, [{"n": 2}])]
    assert driver.answer(n=0) == [{"n": 0}]
    driver.close()


def test_kinds_that_nobody_drives_are_refused():
    class Plain(Codec):
        """Plain."""

    with pytest.raises(ConfigError, match=r"step\.not_driven"):
        driver_for(Plain(), Context())


def test_things_made_once_are_asked_for_and_undone():
    class Slot(Source):
        """Slot."""

        def on_created(self, ctx):
            return {"slot": ctx.id}

        def on_deleted(self, made):
            life.append(made)

        def check(self):
            return iter(())

        def read(self):
            yield [{"n": 1}]

    driver = drive(Slot, Context(id="flow-step-0"))
    made = driver.on_created()
    assert made == {"slot": "flow-step-0"}
    assert driver.on_updated(made, {}) == made
    driver.on_deleted(made)
    assert life[-1] == made
    assert driver.check() == []
