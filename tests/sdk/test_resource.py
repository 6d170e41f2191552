"""Resources: one a process and configuration, opened late, closed properly."""

import threading
from types import SimpleNamespace

import pytest

from dataflare import Source, field, resource, source
from dataflare.config import json_schema
from dataflare.declare import component_class
from dataflare.errors import ConfigError
from dataflare.resource import Resources, resource_named

log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log():
    log.clear()


@resource
def pool(*, dsn: str, size: int = field(default=2, ge=1)):
    """Connections."""
    log.append(f"open {dsn} {size}")
    yield SimpleNamespace(dsn=dsn, size=size)
    log.append(f"close {dsn} {size}")


@resource
def model(pool):
    log.append(f"load from {pool.dsn}")
    yield SimpleNamespace(pool=pool)
    log.append("unload")


@resource
def clock():
    return object()


class Orders(Source):
    dsn: str = "shop"

    def read(self, split, model):
        yield {}


@source
def items(position: int = 0, *, table: str, clock=None, rows: int = 1):
    yield {}


@source
def prices(pool, *, table: str):
    yield {}


def test_a_resource_is_asked_for_by_name():
    assert resource_named(Orders.read, "model") is model
    assert resource_named(Orders.read, "split") is None
    assert resource_named(Orders.read, "log") is None


def test_its_settings_are_fields_of_whoever_asks():
    assert list(json_schema(Orders)["properties"]) == ["dsn", "size"]
    assert list(json_schema(component_class(prices))["properties"]) == ["table", "dsn", "size"]
    assert json_schema(component_class(prices))["required"] == ["table", "dsn"]
    with pytest.raises(ConfigError, match="/size"):
        component_class(prices)(table="t", dsn="d", size=0)


def test_one_a_configuration():
    with Resources() as resources:
        first, again = Orders(), component_class(prices)(table="t", dsn="shop")
        other = Orders(dsn="lake")
        assert resources.get(pool, first) is resources.get(pool, again)
        assert resources.get(pool, other) is not resources.get(pool, first)
        assert resources.get(pool, Orders(size=3)) is not resources.get(pool, first)
        assert log == ["open shop 2", "open lake 2", "open shop 3"]


def test_opened_late_and_closed_in_reverse():
    resources = Resources()
    assert log == []
    shared = resources.get(model, Orders())
    assert shared.pool is resources.get(pool, Orders())
    resources.close()
    resources.close()
    assert log == ["open shop 2", "load from shop", "unload", "close shop 2"]
    with pytest.raises(ConfigError, match=r"resource\.closed"):
        resources.get(pool, Orders())


def test_a_plain_function_returns_its_resource():
    with Resources() as resources:
        assert resources(clock) is resources(clock)


def test_a_missing_setting_is_named():
    with Resources() as resources, pytest.raises(ConfigError, match="`pool` needs `dsn`"):
        resources.get(pool, SimpleNamespace())


def test_many_threads_get_one():
    barrier = threading.Barrier(8)
    found = []

    def ask():
        barrier.wait()
        found.append(resources.get(model, Orders()))

    with Resources() as resources:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(map(id, found))) == 1
    assert log.count("load from shop") == 1


def test_a_failure_to_open_is_tried_again_and_one_to_close_does_not_keep_the_others_open():
    attempts = []

    @resource
    def flaky():
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("not yet")
        yield "there"
        raise OSError("cannot close")

    resources = Resources()
    resources.get(pool, Orders())
    with pytest.raises(OSError, match="not yet"):
        resources.get(flaky)
    assert resources.get(flaky) == "there"
    with pytest.raises(OSError, match="cannot close"):
        resources.close()
    assert log == ["open shop 2", "close shop 2"]


def test_what_is_no_resource_stands_after_the_star():
    with pytest.raises(ConfigError, match=r"`url` is not a resource: put it after `\*`"):

        @resource
        def broken(url):
            yield url
