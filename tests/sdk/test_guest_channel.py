"""Frames over descriptors and through shared memory: whole, in order, unchanged as long as somebody looks at them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Batch
from dataflare.errors import Failed
from dataflare.guest import Frame
from dataflare.guest.channel import Channel
from dataflare.guest.encoding import decode, encode
from dataflare.guest.shared import Inbox, Outbox, memory_file

parts = st.lists(st.binary(max_size=300), max_size=4)


@contextmanager
def both_ends(least: int | None, copies: bool) -> Iterator[tuple[Channel, Channel]]:
    """Two ends that speak to each other; parts from ``least`` bytes on go through shared memory."""
    reading, their_writing = os.pipe()
    their_reading, writing = os.pipe()
    files = [memory_file("one"), memory_file("two")]
    if least is None:
        ends = Channel(reading, writing), Channel(their_reading, their_writing)
    else:
        ends = (
            Channel(reading, writing, Inbox(files[1], copies=copies), Outbox(files[0], least)),
            Channel(their_reading, their_writing, Inbox(files[0], copies=copies), Outbox(files[1], least)),
        )
    try:
        yield ends
    finally:
        for descriptor in (reading, writing, their_reading, their_writing, *files):
            os.close(descriptor)


@given(st.lists(parts, min_size=1, max_size=8), st.sampled_from([None, 0, 100]), st.booleans(), st.data())
def test_frames_arrive_as_they_were_sent_and_stay_so(
    sent: list[list[bytes]], least: int | None, copies: bool, data: st.DataObject
) -> None:
    kept: list[tuple[Any, list[bytes]]] = []
    with both_ends(least, copies) as (host, guest):
        for number, content in enumerate(sent):
            host.send(Frame({"number": number}, content))
            frame = guest.receive()
            assert frame is not None
            assert frame.header == {"number": number}
            if data.draw(st.booleans()):
                kept.append((frame.parts, content))
            guest.send(Frame({"op": "back"}, frame.parts))
            back = host.receive()
            assert back is not None
            assert [bytes(part) for part in back.parts] == content
            for seen, was in kept:
                assert [bytes(part) for part in seen] == was
            if data.draw(st.booleans()):
                kept.clear()
            del frame, back
        kept.clear()


@pytest.mark.parametrize("least", [None, 1 << 20])
def test_parts_of_many_sizes_cross_both_ways(least: int | None) -> None:
    sizes = [0, 1, 65_536, (1 << 20) - 1, 1 << 20, 5_000_000]
    with both_ends(least, copies=True) as (host, guest):

        def echo() -> None:
            while (frame := guest.receive()) is not None and frame.header:
                guest.send(frame)

        answering = threading.Thread(target=echo)
        answering.start()
        for size in [*sizes, *reversed(sizes)]:
            content = os.urandom(size)
            host.send(Frame({"op": "echo"}, [content, b"x"]))
            back = host.receive()
            assert back is not None
            assert [bytes(part) for part in back.parts] == [content, b"x"]
        host.send(Frame({}))
        answering.join()


def test_memory_that_was_returned_is_used_again() -> None:
    with both_ends(1, copies=False) as (host, guest):
        file = host._outbox.file  # type: ignore[union-attr]
        for _ in range(50):
            host.send(Frame({}, [b"x" * 100_000]))
            frame = guest.receive()
            del frame
            guest.send(Frame({}))
            host.receive()
        assert os.fstat(file).st_size <= 2 * 131_072


def test_a_part_that_was_written_into_a_room_is_sent_where_it_lies() -> None:
    with both_ends(1, copies=False) as (host, guest):
        for number in range(5):
            room, dropped = host.room(100_000), host.room(100_000)
            assert room is not None
            assert dropped is not None
            room[:] = bytes([number]) * 100_000
            host.send(Frame({"op": "question"}))  # what is said in between does not give the room away
            other = host.room(100_000)
            assert other is not None
            other[:] = b"x" * 100_000
            del dropped
            guest.receive()
            host.send(Frame({}, [room, b"y" * 100_000]))
            del room, other
            frame = guest.receive()
            assert frame is not None
            assert [bytes(part) for part in frame.parts] == [bytes([number]) * 100_000, b"y" * 100_000]
            del frame
            guest.send(Frame({}))
            host.receive()
        assert os.fstat(host._outbox.file).st_size <= 5 * 131_072  # type: ignore[union-attr]


def test_a_large_batch_is_written_into_a_room_and_read_from_it() -> None:
    batch = Batch(pa.record_batch({"n": pa.array(range(200_000)), "t": pa.array(["ü"] * 200_000)}))
    with both_ends(1 << 20, copies=False) as (host, guest):
        for given in (batch, batch.slice(10_000), batch.slice(0, 5)):
            host.send(Frame({}, [encode(given, "arrow", host.room)]))
            frame = guest.receive()
            assert frame is not None
            assert decode(frame.parts[0], "arrow").arrow.equals(given.arrow)
            assert bool(host._outbox._taken) == (given.nbytes > 1 << 20)  # type: ignore[union-attr]
            del frame
            guest.send(Frame({}))
            host.receive()


def test_the_other_side_cannot_cut_the_memory_off() -> None:
    with both_ends(1, copies=False) as (host, _guest):
        assert host.room(100_000) is not None
        file = host._outbox.file  # type: ignore[union-attr]
        with pytest.raises(PermissionError):
            os.ftruncate(file, 0)


def raw(header: bytes) -> bytes:
    return len(header).to_bytes(4, "little") + header


@pytest.mark.parametrize(
    "header",
    [
        b'{"parts": [10], "shared": [[0, 0]]}',
        b'{"parts": [10], "shared": [[0, -65536]]}',
        b'{"parts": [10], "shared": [[0, 17]]}',
        b'{"parts": [10], "shared": [[0, 1e300]]}',
        b'{"parts": [1000000000], "shared": [[0, 0]]}',
        b'{"parts": [], "shared": [[0, 0]]}',
        b'{"parts": [10], "shared": [[-1, 0]]}',
        b'{"parts": [10], "shared": 7}',
        b'{"parts": [10], "shared": [["a", 0]]}',
        b'{"parts": [], "returned": [0]}',
        b'{"parts": [], "returned": 3}',
        b'{"parts": [], "returned": [null]}',
        b'{"parts": [], "returned": [[]]}',
    ],
)
@pytest.mark.parametrize("copies", [True, False])
def test_places_that_were_not_given_are_refused(header: bytes, copies: bool) -> None:
    with both_ends(1, copies) as (host, guest):
        os.write(guest._writing, raw(header))
        with pytest.raises(Failed) as caught:
            host.receive()
        assert caught.value.code == "guest.frame"


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_whatever_comes_is_a_frame_or_refused_or_the_end(content: bytes) -> None:
    with suppress(Failed):
        received(content)


@given(st.dictionaries(st.text(max_size=4), st.integers(), max_size=3), parts, st.data())
def test_a_frame_that_is_cut_is_refused(header: dict[str, int], content: list[bytes], data: st.DataObject) -> None:
    packed = Frame({**header, "op": "x"}, content).pack()
    cut = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(Failed) as caught:
        received(packed[:cut])
    assert caught.value.code == "guest.frame"


def received(content: bytes) -> Frame | None:
    """What a channel makes of these bytes and the end."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    try:
        return Channel(reading, -1).receive()
    finally:
        os.close(reading)


def test_frames_that_came_together_are_read_one_by_one() -> None:
    with both_ends(None, copies=False) as (host, guest):
        os.write(guest._writing, Frame({"a": 1}, [b"one"]).pack() + Frame({"b": 2}).pack())
        first, second = host.receive(), host.receive()
        assert first is not None
        assert second is not None
        assert (first.header, bytes(first.parts[0]), second.header) == ({"a": 1}, b"one", {"b": 2})


def test_a_frame_above_the_bound_is_not_read() -> None:
    with both_ends(None, copies=False) as (host, guest):
        host.most = 10
        guest.send(Frame({}, [b"x" * 11]))
        with pytest.raises(Failed) as caught:
            host.receive()
        assert caught.value.code == "guest.output"
