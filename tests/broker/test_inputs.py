"""Inputs that the host holds: real sockets, serial lines, files and pipes; bounded, and let go with the step."""

import contextlib
import os
import pty
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import DataflareError, PermissionDenied
from dataflare.grants import services
from dataflare_broker.inputs.buffer import OVERHEAD, Buffer
from dataflare_broker.inputs.origin import read_origin
from dataflare_host import Host

WAIT = 20.0


class Counted:
    """Metrics that are looked at."""

    def __init__(self):
        self.counts = {}

    def count(self, name, value=1):
        self.counts[name] = self.counts.get(name, 0) + value


@pytest.fixture(scope="module")
def host():
    with Host.start({"default", "broker"}) as made:
        yield made


@pytest.fixture
def opened(host, tmp_path):
    """Opens the input `in` of a step; closed at the end."""
    closing = []

    def open_it(address, *, step="orders", **rule):
        cancel, metrics = threading.Event(), Counted()
        rules = [{"name": "in", "address": address, **rule}]
        parts = services(step, {"inputs": rules}, host, flow="test", base=tmp_path, cancel=cancel, metrics=metrics)
        closing.append(parts["on_close"])
        stream = parts["inputs"]("in")
        stream.cancel, stream.metrics, stream.let_go = cancel, metrics, parts["on_close"]
        return stream

    yield open_it
    for close in closing:
        close()


def received(stream, size, most=1 << 16):
    """So many bytes, or what came until the end."""
    given = b""
    while len(given) < size and not stream.ended:
        more = stream.recv(min(most, size - len(given)), WAIT)
        if not more and not stream.ended:
            pytest.fail(f"only {given!r} came")
        given += more
    return given


def sender(stream, kind=socket.SOCK_STREAM):
    host, _, port = stream.place.rpartition(":")
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    made.settimeout(WAIT)
    made.connect((host, int(port)))
    return made


# --- UDP -------------------------------------------------------------------------------------------------------


def here():
    """This machine's own addresses: IPv6 too, where it has that."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
        tried.bind(("::1", 0))
        return ["127.0.0.1", "[::1]"]
    return ["127.0.0.1"]


@pytest.mark.parametrize("host_name", here())
def test_each_datagram_is_received_by_itself(opened, host_name):
    stream = opened(f"udp://{host_name}:0")
    with sender(stream, socket.SOCK_DGRAM) as out:
        for text in (b"one", b"", b"two", b"x" * 9000):
            out.send(text)
    assert [stream.recv(1 << 16, WAIT) for _ in range(4)] == [b"one", b"", b"two", b"x" * 9000]
    assert stream.recv(10, 0) == b""
    assert not stream.ended


def test_the_rest_of_a_datagram_that_is_too_long_is_not_the_next_one(opened):
    stream = opened("udp://127.0.0.1:0")
    with sender(stream, socket.SOCK_DGRAM) as out:
        out.send(b"abcdef")
        out.send(b"next")
    assert (stream.recv(3, WAIT), stream.recv(3, WAIT)) == (b"abc", b"nex")


def test_datagrams_of_others_are_not_taken(opened):
    stream = opened("udp://127.0.0.1:0", peers=["127.0.0.2/32"])
    with sender(stream, socket.SOCK_DGRAM) as out:
        out.send(b"stranger")
    host, _, port = stream.place.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as friend:
        friend.bind(("127.0.0.2", 0))
        friend.sendto(b"friend", (host, int(port)))
    assert stream.recv(99, WAIT) == b"friend"


def test_what_is_too_much_is_dropped_and_counted(opened):
    stream = opened("udp://127.0.0.1:0", buffer="1KiB")
    with sender(stream, socket.SOCK_DGRAM) as out:
        for number in range(100):
            out.send(b"%03d" % number)
        out.send(b"end")
        got = []
        while not got or got[-1] != b"end":
            got.append(stream.recv(99, WAIT))
            if len(got) == 1:  # what is full lets the oldest go: wait until all came through
                while stream.metrics.counts.get("input.in.dropped", 0) < 80:
                    assert stream.recv(0, 0) == b""
    assert got[-1] == b"end"
    assert got[1:] == [*sorted(got[1:-1]), b"end"]
    assert len(got) < 25


# --- TCP -------------------------------------------------------------------------------------------------------


def test_a_server_takes_one_client_after_the_other(opened):
    stream = opened("tcp-listen://127.0.0.1:0")
    with sender(stream) as first:
        first.sendall(b"one")
        assert received(stream, 3) == b"one"
        with sender(stream) as second:
            assert second.recv(1) == b""  # one at a time
        first.sendall(b"two")
        assert received(stream, 3) == b"two"
    for _ in range(100):
        with sender(stream) as third, contextlib.suppress(OSError):
            third.sendall(b"three")
            if stream.recv(99, 0.2):
                break
    else:
        pytest.fail("nobody may come after the first")


def test_strangers_are_not_let_in(opened):
    stream = opened("tcp-listen://127.0.0.1:0", peers=["10.0.0.0/8"])
    with sender(stream) as stranger:
        assert stranger.recv(1) == b""


def test_lines_of_several_clients_are_not_mixed(opened):
    stream = opened("tcp-listen://127.0.0.1:0", connections=8)
    clients = [sender(stream) for _ in range(8)]
    lines = [b"client %d line %d\n" % (client, line) for line in range(50) for client in range(8)]

    def send(number):
        whole = b"".join(line for line in lines if line.startswith(b"client %d " % number))
        for place in range(0, len(whole), 7):
            clients[number].sendall(whole[place : place + 7])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    got = received(stream, len(b"".join(lines)))
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    assert sorted(got.splitlines(keepends=True)) == sorted(lines)


def test_what_a_client_leaves_unfinished_is_not_lost(opened):
    stream = opened("tcp-listen://127.0.0.1:0", connections=2)
    with sender(stream) as out:
        out.sendall(b"a line\nand half")
    assert received(stream, 15) == b"a line\nand half"


def test_a_client_connects_again(opened):
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = opened(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        for text in (b"first", b"second"):
            connection, _ = server.accept()
            with connection:
                connection.sendall(text)
            assert received(stream, len(text)) == text
        assert not stream.ended


def test_a_client_that_connects_once_ends(opened):
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = opened(f"tcp://127.0.0.1:{server.getsockname()[1]}?reconnect=no")
        connection, _ = server.accept()
        connection.sendall(b"all")
        connection.close()
        assert received(stream, 99) == b"all"
        assert stream.ended


def test_a_full_buffer_holds_a_sender_back_and_loses_nothing(opened):
    stream = opened("tcp-listen://127.0.0.1:0", buffer="64KiB")
    whole = os.urandom(8 << 20)

    def send():
        with sender(stream) as out:
            out.sendall(whole)

    thread = threading.Thread(target=send)
    thread.start()
    assert received(stream, len(whole), most=100_000) == whole
    thread.join()
    assert stream.metrics.counts == {}


# --- tty, files, pipes -------------------------------------------------------------------------------------------


def test_a_serial_line_is_read_raw_with_its_speed(opened):
    import termios

    master, slave = pty.openpty()
    stream = opened(f"tty:{os.ttyname(slave)}?baud=4800")
    os.write(master, b"$GPGGA,1\r\n\x03\x04\x11")
    assert received(stream, 13) == b"$GPGGA,1\r\n\x03\x04\x11"
    assert termios.tcgetattr(slave)[4] == termios.B4800
    os.close(slave)
    os.close(master)


def test_a_device_that_is_gone_is_opened_again(opened, tmp_path):
    def plug():
        master, slave = pty.openpty()
        name = tmp_path / "other"
        name.symlink_to(os.ttyname(slave))
        name.rename(tmp_path / "device")
        return master, slave

    master, slave = plug()
    stream = opened("tty:device")
    os.write(master, b"one")
    assert received(stream, 3) == b"one"
    os.close(slave)
    os.close(master)
    master, slave = plug()
    while True:
        os.write(master, b"two")
        if stream.recv(99, 0.2):
            break
    os.close(slave)
    os.close(master)


def test_a_file_is_followed_as_it_grows_shrinks_and_is_replaced(opened, tmp_path):
    file = tmp_path / "lines"
    file.write_bytes(b"old\n")
    stream = opened("file:lines")
    with file.open("ab") as out:
        out.write(b"new\n")
    assert received(stream, 4) == b"new\n"
    file.write_bytes(b"cut\n")
    assert received(stream, 4) == b"cut\n"
    (tmp_path / "other").write_bytes(b"rotated\n")
    (tmp_path / "other").rename(file)
    assert received(stream, 8) == b"rotated\n"
    assert not stream.ended


def test_a_file_from_its_start_to_its_end(opened, tmp_path):
    (tmp_path / "all bytes").write_bytes(b"x" * 100_000)
    stream = opened("file:all%20bytes?from=start&follow=no")
    assert received(stream, 1 << 20) == b"x" * 100_000
    assert stream.ended
    assert stream.recv(9, WAIT) == b""


def test_a_pipe_outlives_its_writers(opened, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    stream = opened("file:pipe")
    for text in (b"one", b"two"):
        with (tmp_path / "pipe").open("wb") as out:
            out.write(text)
        assert received(stream, 3) == text
    assert not stream.ended


def test_a_pipe_may_end_with_its_writer(opened, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    stream = opened("file:pipe?follow=no")
    assert stream.recv(9, 0) == b""
    with (tmp_path / "pipe").open("wb") as out:
        out.write(b"all")
    assert received(stream, 99) == b"all"
    assert stream.ended


# --- what is granted, and when it ends -----------------------------------------------------------------------------


def test_an_input_is_one_a_flow_and_step_and_free_when_the_step_ends(opened):
    first = opened("udp://127.0.0.1:0")
    with pytest.raises(DataflareError, match=r"input\.in_use"):
        opened("udp://127.0.0.1:0")
    opened("udp://127.0.0.1:0", step="others")
    place = first.place
    first.let_go()
    again = opened(f"udp://{place}")
    assert again.place == place


def test_a_step_gets_the_same_stream_whenever_it_asks(host):
    parts = services("orders", {"inputs": [{"name": "in", "address": "udp://127.0.0.1:0"}]}, host, flow="same")
    assert parts["inputs"]("in") is parts["inputs"]("in")
    parts["on_close"]()


def test_only_granted_inputs_are_open(host, opened):
    parts = services("orders", {"inputs": [{"name": "in"}]}, host)
    with pytest.raises(PermissionDenied, match=r"permission\.denied"):
        parts["inputs"]("other")
    with pytest.raises(DataflareError, match=r"input\.no_address"):
        parts["inputs"]("in")
    with pytest.raises(DataflareError, match=r"input\.kind"):
        opened("file:/etc/passwd", kinds=["udp", "tcp"])
    assert services("orders", {}, host)["inputs"] is None


@pytest.mark.parametrize(
    ("address", "more", "code"),
    [
        ("udp://127.0.0.1", {}, "input.address"),
        ("udp://:10", {}, "input.address"),
        ("udp://127.0.0.1:99999", {}, "input.address"),
        ("http://127.0.0.1:1", {}, "input.address"),
        ("file://etc/passwd", {}, "input.address"),
        ("file:", {}, "input.address"),
        ("nonsense", {}, "input.address"),
        ("file:a?follow=maybe", {}, "input.option"),
        ("file:a?baud=4800", {}, "input.option"),
        ("tty:/dev/null?baud=fast", {}, "input.option"),
        ("udp://127.0.0.1:0", {"overflow": "explode"}, "input.option"),
        ("udp://127.0.0.1:0", {"buffer": "much"}, "input.option"),
        ("tcp-listen://127.0.0.1:0", {"connections": 0}, "input.option"),
        ("udp://127.0.0.1:0", {"peers": ["nobody"]}, "permission.networks"),
        ("file:missing", {}, "input.unavailable"),
        ("tty:/dev/null", {}, "input.unavailable"),
        ("tty:/dev/missing", {}, "input.unavailable"),
    ],
)
def test_what_is_wrong_with_a_grant_is_told(opened, address, more, code):
    with pytest.raises(DataflareError) as caught:
        opened(address, **more)
    assert caught.value.code == code


def test_a_port_that_is_taken_is_told(opened):
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(DataflareError) as caught:
        opened(f"tcp-listen://127.0.0.1:{server.getsockname()[1]}")
    assert (caught.value.code, caught.value.problems[0].kind) == ("input.unavailable", "retry")
    opened("tcp-listen://127.0.0.1:0")  # the name is free


def test_a_flow_that_stops_waits_for_nothing(opened):
    stream = opened("udp://127.0.0.1:0")
    threading.Timer(0.05, stream.cancel.set).start()
    assert stream.recv(9, 600) == b""


def test_closing_ends_a_reader_that_is_held_back(opened, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * (1 << 20))
    stream = opened("file:big?from=start", buffer="64KiB")
    assert stream.recv(1, WAIT) == b"x"
    stream.let_go()
    assert [thread for thread in threading.enumerate() if thread.name == "dataflare-input-in"] == []


def test_no_descriptor_is_left(opened):
    def count():
        return len(os.listdir("/proc/self/fd"))

    opened("udp://127.0.0.1:0").let_go()
    before = count()
    for _ in range(20):
        for address in ("udp://127.0.0.1:0", "tcp-listen://127.0.0.1:0", "file:/etc/passwd", "tcp://127.0.0.1:1"):
            opened(address).let_go()
        with pytest.raises(DataflareError):
            opened("file:missing")
    assert count() == before


@given(
    st.lists(st.binary(max_size=300), max_size=40),
    st.sampled_from(["drop_oldest", "drop_newest"]),
    st.integers(64, 2000),
    st.booleans(),
)
def test_a_buffer_never_holds_more_than_it_may_and_says_what_it_lost(pieces, overflow, limit, whole):
    buffer = Buffer(limit, overflow, whole)
    for piece in pieces:
        assert buffer.put(piece)
        held = list(buffer._pieces)
        assert sum(len(each) + OVERHEAD for each in held) <= limit or len(held) == 1
    buffer.end()
    lost = buffer.lost
    held = list(buffer._pieces)
    kept = pieces[lost:] if overflow == "drop_oldest" else held
    assert held == kept
    assert len(held) + lost == len(pieces)
    got = []
    while not buffer.exhausted:
        got.append(buffer.take(100, 0, lambda: False))
    assert got == [each[:100] for each in kept] if whole else b"".join(got) == b"".join(kept)


def test_an_origin_is_read(tmp_path):
    made = read_origin({"name": "in", "address": "tty:/dev/ttyUSB0?baud=4800", "buffer": "1MiB"}, tmp_path)
    assert (made.kind, str(made.path), made.options["baud"], made.buffer) == ("tty", "/dev/ttyUSB0", "4800", 1 << 20)
