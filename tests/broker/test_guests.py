"""Requests and inputs of guests: by frames, with the same answers and the same refusals as in process."""

import socket
import time

import pytest
from broker.calling import HTTP, SECRET, TOKEN, called
from servers import answer, saying

from dataflare import Batch, Context, Processor, Schema, source, tool
from dataflare.declare import component_class
from dataflare.drive import NO_POSITION, ProcessorDriver, SourceDriver, driver_for
from dataflare.errors import DataflareError, PermissionDenied, Retry
from dataflare.split import Demand, Resume, Split
from dataflare.testing.guests import as_guests


@tool
def ask(ctx: Context, url: str, method: str = "GET", body: str = "", headers: dict[str, str] | None = None) -> dict:
    """Ask a service."""
    made = ctx.http.request(method, url, content=body or None, headers=headers)
    return {"status": made.status, "text": made.text, "headers": dict(made.headers)}


class Looked(Processor, cardinality="one"):
    """Add what a service says of each row."""

    url: str

    def plan(self, schema):
        return schema.with_column("told", str)

    def process(self, batch, ctx: Context):
        told = [ctx.http.get(self.url, params={"n": row["n"]}).checked().text for row in batch.to_rows()]
        return batch.with_column("told", told)


@source
def datagrams(ctx: Context, *, count: int = 2):
    """So many datagrams."""
    stream = ctx.input("in")
    for _ in range(count):
        yield [{"text": stream.recv(99, 20.0).decode()}]


@tool
def all_of(ctx: Context, name: str) -> str:
    """All of an input, to its end."""
    stream, given = ctx.input(name), b""
    while not stream.ended:
        given += stream.recv(10, 5.0)
    return given.decode()


COMPONENTS = [component_class(each) for each in (ask, datagrams, all_of, Looked)]


@pytest.fixture(params=["inline", "arrow", "json"])
def components(request):
    if request.param == "inline":
        return {f"{each.kind}:{each.spec.name}": each for each in COMPONENTS}
    return as_guests(COMPONENTS, encodings=[request.param])


def test_a_request_of_a_guest_is_sent_by_the_host(components, around, world):
    world.names["api.example"] = ["127.0.0.1"]
    server = world.server(saying(answer(201, "fine, ü".encode(), X_Left=3)), world.authority.give("api.example"))
    url = f"https://api.example:{server.port}/a"
    made = called(components, "ask", around(http=[HTTP]), url=url, method="POST", body="é", headers={"X-A": "b"})
    assert (made["status"], made["text"], made["headers"]["x-left"]) == (201, "fine, ü", "3")
    assert (server.asked[0].method, server.asked[0].body) == ("POST", "é".encode())
    assert server.asked[0].headers["x-a"] == "b"


def test_a_secret_never_reaches_the_guest(components, around, world):
    world.names["api.example"] = ["127.0.0.1"]
    server = world.server(saying(answer(200, TOKEN.encode(), X=TOKEN)), world.authority.give("api.example"))
    made = called(components, "ask", around(http=[HTTP], secrets=[SECRET]), url=f"https://api.example:{server.port}/")
    assert server.asked[0].headers["authorization"] == TOKEN
    assert TOKEN not in str(made)


@pytest.mark.parametrize(
    ("grants", "url", "code"),
    [
        ({}, "http://api.example/", "permission.denied"),
        ({"http": [HTTP]}, "http://other.example/", "permission.http"),
        ({"http": [{}]}, "http://127.0.0.1/", "permission.address"),
        ({"http": [{}]}, "http://user@api.example/", "http.url"),
        ({"http": [HTTP]}, "http://api.example:1/", "http.unreachable"),
    ],
)
def test_a_guest_is_refused_as_anybody_is(components, around, world, grants, url, code):
    world.names["api.example"] = ["127.0.0.1"]
    with pytest.raises(DataflareError) as caught:
        called(components, "ask", around(**grants), url=url)
    assert caught.value.code == code
    assert isinstance(caught.value, PermissionDenied) == (
        code in ("permission.denied", "permission.http", "permission.address")
    )


def test_a_service_that_asks_to_wait_is_heard_through_frames(components, around, world):
    server = world.server(saying(answer(429, Retry_After=600)))
    ctx = around(http=[{"networks": ["127.0.0.0/8"]}])
    url = f"http://127.0.0.1:{server.port}/"
    assert called(components, "ask", ctx, url=url)["status"] == 429
    with pytest.raises(Retry) as caught:
        called(components, "ask", ctx, url=url)
    assert 590 < caught.value.after <= 600


def test_a_step_looks_each_row_up(components, around, world):
    server = world.server(lambda connection, asked: connection.sendall(answer(200, asked.target.encode())))
    ctx = around(http=[{"networks": ["127.0.0.0/8"], "methods": ["GET"]}])
    driver = driver_for(components["processor:looked"](url=f"http://127.0.0.1:{server.port}/a"), ctx)
    assert isinstance(driver, ProcessorDriver)
    batch = Batch.of([{"n": 1}, {"n": 2}])
    driver.plan({"": Schema(batch.schema)})
    driver.open(Resume())
    ((_, out),) = driver.process(batch).outputs
    driver.close()
    assert [row["told"] for row in out.to_rows()] == ["/a?n=1", "/a?n=2"]


def test_an_input_reaches_a_guest(components, around):
    ctx = around(inputs=[{"name": "in", "address": "udp://127.0.0.1:0"}])
    held = ctx.input("in")
    host, _, port = held.place.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for text in (b"one", b"two"):
            out.sendto(text, (host, int(port)))
    driver = driver_for(components["source:datagrams"](), ctx)
    assert isinstance(driver, SourceDriver)
    driver.open(Resume())
    got = []
    for step in driver.read(Split("all"), NO_POSITION, Demand(10, 1 << 20, time.monotonic() + 20), None):
        got += step.batch.to_rows() if step.batch else []
    driver.close()
    assert got == [{"text": "one"}, {"text": "two"}]
    assert held.closing  # with the step
    assert ctx.input("in") is not held
    ctx.close()


def test_the_end_of_an_input_reaches_a_guest(components, around, tmp_path):
    (tmp_path / "all").write_text("abc" * 10)
    ctx = around(inputs=[{"name": "in", "address": "file:all?from=start&follow=no"}])
    assert called(components, "all-of", ctx, name="in") == "abc" * 10


@pytest.mark.parametrize("grants", [{}, {"inputs": [{"name": "other", "address": "udp://127.0.0.1:0"}]}])
def test_an_input_that_is_not_granted_is_refused(components, around, grants):
    with pytest.raises(PermissionDenied, match=r"permission\.denied"):
        called(components, "all-of", around(**grants), name="in")
