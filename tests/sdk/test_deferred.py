"""Deferred sinks: nothing is sent before the commit, everything once, with keys that never change."""

from dataclasses import replace

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Batch, Context, DeferredSink, Failed, Resume, Retry, Sink, field, sink
from dataflare.deferred import behind_spool, spooled
from dataflare.drive import driver_for


class Crash(Exception):
    pass


class Target:
    """A server that ignores a request whose key it has seen."""

    def __init__(self):
        self.requests = []
        self.seen = {}
        self.crash_at = None

    def post(self, key, rows):
        if self.crash_at is not None and len(self.requests) == self.crash_at:
            self.crash_at = None
            raise Crash
        self.requests.append(key)
        self.seen.setdefault(key, rows)

    def numbers(self):
        return [row["n"] for rows in self.seen.values() for row in rows]


class Post(DeferredSink):
    """Posts."""

    request_rows: int = field(default=2)

    def send(self, batch: Batch, key: str):
        self.target.post(key, batch.to_rows())


class PostLater(Post):
    """Posts, async."""

    async def send(self, batch: Batch, key: str):
        self.target.post(key, batch.to_rows())


@pytest.fixture(params=[Post, PostLater])
def kind(request):
    return request.param


def context(folder, fence=1):
    return Context(flow="f", step="s", incarnation="abcdef0123", fence=fence, base=folder, cache=folder / "cache")


def opened(component, ctx, tokens=(), epoch=0):
    driver = driver_for(component, ctx)
    driver.open(Resume(epoch=epoch, tokens={str(lane): token for lane, token in enumerate(tokens)}))
    return driver


def post(kind, target):
    made = kind()
    made.target = target
    return made


def epoch_of(driver, epoch, *batches):
    driver.begin(epoch)
    for numbers in batches:
        driver.write(Batch.of({"n": numbers}))
    return driver.prepare(epoch, False)


def test_nothing_is_sent_before_the_commit(tmp_path, kind):
    target = Target()
    driver = opened(post(kind, target), context(tmp_path))
    token = epoch_of(driver, 1, [1, 2, 3], [4])
    assert target.requests == []
    driver.commit(1, [token])
    assert target.numbers() == [1, 2, 3, 4]
    assert target.requests == [f"abcdef0123-f-s-0-1-{ordinal}" for ordinal in range(3)]
    driver.close()


def test_a_commit_may_come_again_also_on_a_fresh_instance(tmp_path, kind):
    target = Target()
    driver = opened(post(kind, target), context(tmp_path))
    token = epoch_of(driver, 1, [1, 2, 3])
    driver.commit(1, [token])
    driver.commit(1, [token])
    fresh = opened(post(kind, target), context(tmp_path, fence=2), [token], epoch=1)
    fresh.commit(1, [token])
    assert len(target.requests) == 2
    driver.close()
    fresh.close()


@settings(max_examples=40, deadline=None)
@given(
    crash_at=st.integers(0, 6),
    numbers=st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5), max_size=3),
)
def test_a_crash_between_requests_repeats_none_and_loses_none(tmp_path_factory, crash_at, numbers):
    folder, target = tmp_path_factory.mktemp("spool"), Target()
    target.crash_at = crash_at
    driver = opened(post(Post, target), context(folder))
    token = epoch_of(driver, 1, *numbers)
    try:
        driver.commit(1, [token])
    except Crash:
        fresh = opened(post(Post, target), context(folder, fence=2), [token], epoch=1)
        fresh.commit(1, [token])
    assert target.numbers() == [n for part in numbers for n in part]
    assert len(target.requests) == len(set(target.requests))


def test_an_aborted_epoch_leaves_nothing(tmp_path):
    target = Target()
    driver = opened(post(Post, target), context(tmp_path))
    token = epoch_of(driver, 1, [1, 2, 3])
    driver.abort(1, [token])
    driver.begin(2)
    driver.write(Batch.of({"n": [1]}))
    driver.abort(2, [])
    assert list((tmp_path / "cache").iterdir()) == []
    assert target.requests == []


def test_a_later_epoch_with_the_number_of_an_aborted_one_has_its_own_rows(tmp_path):
    target = Target()
    driver = opened(post(Post, target), context(tmp_path))
    epoch_of(driver, 1, [1, 2])
    restarted = opened(post(Post, target), context(tmp_path, fence=2))
    restarted.commit(1, [epoch_of(restarted, 1, [7])])
    assert target.numbers() == [7]


def test_opening_cleans_up_after_older_attempts_only(tmp_path):
    first = opened(post(Post, Target()), context(tmp_path))
    live, dead = epoch_of(first, 1, [1]), epoch_of(first, 2, [2])
    opened(post(Post, Target()), replace(context(tmp_path, fence=9), step="other"))
    assert len(list((tmp_path / "cache").iterdir())) == 2
    opened(post(Post, Target()), context(tmp_path, fence=2), [live], epoch=1)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [live["parts"][0]["file"]]
    assert dead["name"] != live["name"]


def test_records_of_deliveries_do_not_pile_up(tmp_path):
    driver = opened(post(Post, Target()), context(tmp_path))
    for epoch in range(1, 5):
        driver.commit(epoch, [epoch_of(driver, epoch, [epoch])])
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_lane_that_commits_delivers_for_all_lanes(tmp_path):
    target, tokens, drivers = Target(), [], []
    for lane in range(3):
        ctx = replace(context(tmp_path), lane=lane, cache=tmp_path / "cache" / str(lane))
        drivers.append(opened(post(Post, target), ctx))
        tokens.append(epoch_of(drivers[-1], 1, [lane]) if lane else epoch_of(drivers[-1], 1))
    assert tokens[0] is None
    drivers[0].commit(1, tokens)
    assert sorted(target.numbers()) == [1, 2]


def test_a_new_schema_in_the_middle_of_an_epoch(tmp_path):
    target = Target()
    driver = opened(post(Post, target), context(tmp_path))
    driver.begin(1)
    driver.write(Batch.of({"n": [1]}))
    driver.write(Batch.of({"n": [2], "m": ["x"]}))
    driver.commit(1, [driver.prepare(1, False)])
    assert list(target.seen.values()) == [[{"n": 1}], [{"n": 2, "m": "x"}]]


def test_a_lost_or_damaged_spool_is_named_never_skipped(tmp_path):
    driver = opened(post(Post, Target()), context(tmp_path))
    token = epoch_of(driver, 1, [1])
    spool = tmp_path / "cache" / token["parts"][0]["file"]
    data = spool.read_bytes()
    spool.write_bytes(data[:-20] + bytes(20))
    with pytest.raises(Failed, match=r"sink\.spool_damaged"):
        driver.commit(1, [token])
    spool.unlink()
    with pytest.raises(Failed, match=r"sink\.spool_missing"):
        driver.commit(1, [token])
    spool.write_bytes(data)
    driver.commit(1, [token])


class Log(Sink):
    """Appends to a list."""

    tag: str = "x"

    def write(self, batch: Batch):
        batch = batch.reject(pc.less(batch["n"], 0), "low")
        self.target.post(f"{self.tag}{len(self.target.requests)}", batch.to_rows())


class Journal(Sink[int], ability="idempotent"):
    """Collects and publishes at its own commit."""

    def begin(self, epoch):
        self.rows = []

    def write(self, batch: Batch):
        self.rows += batch.to_rows()

    def prepare(self) -> int:
        return len(self.rows)

    def commit(self, epoch, tokens):
        assert tokens == [len(self.rows)]
        self.target.post(f"e{epoch}", self.rows)


@pytest.mark.parametrize("inner", [Log, Journal])
def test_any_sink_behind_the_spool_writes_when_it_is_decided(tmp_path, inner):
    target = Target()
    wrapped = behind_spool(inner())
    wrapped.target = wrapped.sink.target = target
    driver = opened(wrapped, context(tmp_path))
    token = epoch_of(driver, 1, [1], [2, 3])
    driver.begin(2)
    assert target.requests == []
    driver.commit(1, [token])
    driver.commit(1, [token])
    assert target.numbers() == [1, 2, 3]
    assert driver.ctx.epoch == 2
    driver.close()


def test_a_sink_class_behind_the_spool_keeps_its_name_and_configuration(tmp_path):
    from dataflare.config import dump, json_schema

    cls = spooled(Log)
    assert (cls.spec.name, cls.spec["ability"], cls.spec.summary) == ("log", "staged", "Appends to a list.")
    assert set(json_schema(cls)["properties"]) == {"tag"}
    assert dump(cls(tag="y")) == {"tag": "y"}

    @sink
    def echo(batch, *, prefix: str = ""):
        """Echo."""

    assert spooled(echo.__dataflare__)(prefix="a").sink.prefix == "a"


def test_rows_refused_after_the_decision_are_a_failure(tmp_path):
    wrapped = behind_spool(Log())
    wrapped.sink.target = Target()
    driver = opened(wrapped, context(tmp_path))
    token = epoch_of(driver, 1, [-1])
    with pytest.raises(Failed, match=r"sink\.refused_on_commit"):
        driver.commit(1, [token])


def test_a_retry_while_sending_comes_through(tmp_path):
    class Busy(DeferredSink):
        """Busy."""

        def send(self, batch):
            raise Retry(3.0)

    driver = opened(Busy(), context(tmp_path))
    with pytest.raises(Retry):
        driver.commit(1, [epoch_of(driver, 1, [1])])
