"""Answers of services that mean harm, or break: each ends in time, small, and with a code."""

import gzip
import threading
import zlib
from dataclasses import replace

import pytest
from servers import answer, saying

from dataflare.errors import DataflareError
from dataflare_broker.http.content import read_content

BIG = 50 << 20


def outcome(world, say, method="GET", **options):
    """The answer's status, or the code of the error."""
    server = world.server(say)
    try:
        return world.client().request(method, f"http://127.0.0.1:{server.port}/", **options).status
    except DataflareError as error:
        return error.code


def test_a_huge_answer_is_not_read_to_its_end(world):
    sent = []

    def say(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            sent.append(connection.send(b"x" * 65536))

    assert outcome(world, say) == "http.too_large"
    assert sum(sent) < BIG


def test_a_huge_answer_that_says_so(world):
    assert outcome(world, saying(answer(200, b"x" * (1 << 20)))) == 200
    assert outcome(world, saying(answer(200, b"x" * ((1 << 20) + 1)))) == "http.too_large"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-gzip", "GZIP"])
def test_a_bomb_does_not_go_off(world, coding):
    pack = zlib.compress if coding == "deflate" else gzip.compress
    assert outcome(world, saying(answer(200, pack(bytes(BIG)), Content_Encoding=coding))) == "http.too_large"


def test_a_bomb_in_many_members(world):
    assert (
        outcome(world, saying(answer(200, gzip.compress(bytes(1 << 20)) * 50, Content_Encoding="gzip")))
        == "http.too_large"
    )


def test_a_bomb_costs_no_more_memory_than_is_allowed():
    import tracemalloc

    bomb = gzip.compress(bytes(BIG))
    tracemalloc.start()
    try:
        with pytest.raises(DataflareError, match=r"http\.too_large"):
            read_content([bomb], {"content-encoding": "gzip"}, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", "gzip;q=1", "\x80"])
def test_what_was_not_asked_for_is_not_unpacked(world, coding):
    assert outcome(world, saying(answer(200, b"abc", Content_Encoding=coding))) == "http.encoding"


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(b"hello " * 999), "gzip"),
        (gzip.compress(b"hello " * 500) + gzip.compress(b"hello " * 499), "gzip"),
        (zlib.compress(b"hello " * 999), "deflate"),
        (zlib.compress(b"hello " * 999)[2:-4], "deflate"),
        (b"hello " * 999, "identity"),
        (b"hello " * 999, ""),
    ],
    ids=["gzip", "members", "deflate", "raw", "identity", "plain"],
)
@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_packed_answers_are_unpacked(body, coding, piece):
    pieces = [body[place : place + piece] for place in range(0, len(body), piece)]
    assert read_content(pieces, {"content-encoding": coding}, 1 << 20) == b"hello " * 999


def test_packed_content_that_is_damaged_or_cut_off(world):
    whole = gzip.compress(b"hello " * 999)
    assert outcome(world, saying(answer(200, whole[:-9], Content_Encoding="gzip"))) == "http.broken"
    assert outcome(world, saying(answer(200, b"not packed", Content_Encoding="gzip"))) == "http.encoding"
    assert outcome(world, saying(answer(200, b"", Content_Encoding="gzip"))) == 200


def test_a_length_that_lies(world):
    def short(connection, _):
        connection.sendall(answer(200, b"abc", Content_Length=10))
        connection.close()

    assert outcome(world, short) == "http.broken"
    server = world.server(saying(answer(200, b"abcdef", Content_Length=3)))
    client = world.client()
    for _ in range(2):  # what is too much is no part of the next answer
        assert client.get(f"http://127.0.0.1:{server.port}/").content == b"abc"
    assert {asked.connection for asked in server.asked} == {1, 2}


@pytest.mark.parametrize(
    "given",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_what_is_no_proper_answer(world, given):
    def say(connection, _):
        connection.sendall(given)
        connection.close()

    assert outcome(world, say) in ("http.broken", "http.unreachable")


def test_too_many_and_too_long_headers(world):
    many = {f"X_{number}": "a" for number in range(300)}
    assert outcome(world, saying(answer(200, **many))) == "http.broken"
    assert outcome(world, saying(answer(200, X="a" * 90_000))) == "http.broken"

    def endless(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X: " + b"a" * 60_000 + b"\r\n")

    assert outcome(world, endless) == "http.broken"


@pytest.mark.parametrize(
    "piece",
    [b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\na"],
    ids=["mute", "head", "100", "body"],
)
def test_a_slow_service_has_until_the_end_of_the_time_and_no_longer(world, piece):
    given_up = threading.Event()

    def say(connection, _):
        connection.settimeout(0.02)
        connection.sendall(piece)
        drip = piece if piece.startswith(b"HTTP/1.1 1") else b"a" if piece[-1:] == b"a" else b""
        while not given_up.is_set():
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                connection.sendall(drip)

    assert outcome(world, say, timeout=0.4) == "http.timeout"
    given_up.set()


def test_the_time_that_a_component_asks_for_is_at_most_the_operators(world):
    world.bounds = replace(world.bounds, total=0.3)
    done = threading.Event()
    assert outcome(world, lambda connection, _: done.wait(20), timeout=1e9) == "http.timeout"
    done.set()


def test_a_service_that_does_not_read_is_given_up(world):
    world.bounds = replace(world.bounds, request=64 << 20)
    done = threading.Event()
    server = world.server(saying(answer()))
    server.before = lambda connection: done.wait(20)
    with pytest.raises(DataflareError, match=r"http\.timeout"):
        world.client().request("PUT", f"http://127.0.0.1:{server.port}/", content=b"x" * (32 << 20), timeout=0.4)
    done.set()


def test_a_name_server_that_does_not_answer_is_given_up(world):
    done = threading.Event()
    world.resolve = lambda host, port: done.wait(20) and []
    with pytest.raises(DataflareError, match=r"http\.timeout"):
        world.client().get("http://slow.example/", timeout=0.3)
    world.bounds = replace(world.bounds, connect=0.2)
    world._shared = None
    with pytest.raises(DataflareError, match=r"http\.timeout"):
        world.client().get("http://slow.example/")
    done.set()


def test_a_flow_that_stops_waits_for_no_service(world):
    done = threading.Event()
    asked = threading.Event()

    def say(connection, _):
        asked.set()
        done.wait(20)

    server, client = world.server(say), world.client()
    threading.Thread(target=lambda: (asked.wait(20), client._asker.cancel.set())).start()
    with pytest.raises(DataflareError, match=r"http\.cancelled"):
        client.get(f"http://127.0.0.1:{server.port}/")
    done.set()


def test_no_more_requests_are_under_way_than_may_be(world):
    world.bounds = replace(world.bounds, in_flight=2)
    begun, done = threading.Semaphore(0), threading.Event()

    def say(connection, asked):
        begun.release()
        if asked.target == "/slow":
            done.wait(20)
        connection.sendall(answer())

    server = world.server(say)
    url = f"http://127.0.0.1:{server.port}"
    threads = [threading.Thread(target=world.client().get, args=(f"{url}/slow",)) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert begun.acquire(timeout=20)
    with pytest.raises(DataflareError, match=r"http\.timeout"):
        world.client().get(f"{url}/quick", timeout=0.2)
    assert world.client(step="another").get(f"{url}/quick").ok
    done.set()
    for thread in threads:
        thread.join()
    assert world.client().get(f"{url}/quick").ok


def test_nobody_there(world):
    server = world.server(saying(answer()))
    server.close()
    with pytest.raises(DataflareError, match=r"http\.unreachable") as caught:
        world.client().get(f"http://127.0.0.1:{server.port}/?token=hunter2")
    assert caught.value.problems[0].kind == "retry"
    assert "hunter2" not in str(caught.value)
    with pytest.raises(DataflareError, match=r"http\.unreachable"):
        world.client().get("http://nowhere.example/")


def test_a_head_has_no_body_and_an_empty_answer_none(world):
    assert outcome(world, saying(answer(200, b"", Content_Length=999)), method="HEAD") == 200
    assert outcome(world, saying(answer(204, b"", Content_Length=None))) == 204
    assert outcome(world, saying(answer(304, b"", Content_Length=None))) == 304
