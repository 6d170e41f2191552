"""A plugin as a guest: the conversations of `tests/vectors/guest.json`, here and over a pipe, and broken frames."""

from __future__ import annotations

import base64
import importlib.util
import io
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors.conversations import CONVERSATIONS, VECTORS, Answering, Ask, play

from dataflare import Batch
from dataflare.declare import components_in
from dataflare.errors import DataflareError, Failed
from dataflare.guest import Frame, Guest
from dataflare.guest.encoding import decode, decode_rejects, encode


def plugin() -> Any:
    spec = importlib.util.spec_from_file_location("guest_plugin", VECTORS / "guest_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guest_plugin"] = module
    spec.loader.exec_module(module)
    return module


def in_process(host: Answering) -> Iterator[Ask]:
    guest = Guest(components_in(plugin()), host)
    yield lambda frame: Frame.unpack(guest.answer(frame.pack()))
    guest.end()


def in_a_process(host: Answering) -> Iterator[Ask]:
    words = [sys.executable, "-m", "dataflare.guest", "guest_plugin"]
    with subprocess.Popen(words, cwd=VECTORS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(frame: Frame) -> Frame:
            frame.write(process.stdin)  # type: ignore[arg-type]
            while (answer := Frame.read(process.stdout)) is not None and "op" in answer.header:  # type: ignore[arg-type]
                host(answer).write(process.stdin)  # type: ignore[arg-type]
            assert answer is not None
            return answer

        yield ask
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize("way", [in_process, in_a_process])
def test_every_conversation_goes_as_written(way: Callable[[Answering], Iterator[Ask]]) -> None:
    host = Answering()
    for conversation in CONVERSATIONS:
        talking = way(host)
        play(conversation, next(talking), host)
        assert next(talking, None) is None


def test_the_conversations_hold_every_operation_an_sdk_needs() -> None:
    used = {turn["request"]["op"] for conversation in CONVERSATIONS for turn in conversation["turns"]}
    assert used >= set("open close splits read acknowledge process snapshot restore plan call continue".split())
    assert used >= set("begin write prepare commit abort recover readback stop_reading".split())


def test_describe_tells_kinds_configuration_and_what_the_author_wrote() -> None:
    guest = Guest(components_in(plugin()))
    (answer,) = [Frame.unpack(guest.answer(Frame({"op": "describe"}).pack())).header]
    assert answer["protocol"] == 1
    found = {f"{each['kind']}:{each['name']}": each for each in answer["components"]}
    assert found["source:numbers"]["config"]["properties"]["count"]["default"] == 5
    assert found["source:numbers"]["operations"] == ["splits", "read"]
    assert found["processor:totals"]["states"] == ["total"]
    assert found["processor:times"]["abilities"]["cardinality"] == "one"
    assert found["processor:parity"]["abilities"]["outputs"] == ["odd"]
    assert found["sink:shelf"]["abilities"]["ability"] == "staged"
    assert found["tool:add"]["input"]["required"] == ["a"]


def test_what_a_plugin_prints_does_not_stand_between_frames(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import os\nfrom dataflare import tool\nprint('hello')\n\n"
        "@tool\ndef shout(a: int):\n    print('shout')\n    os.write(1, b'raw')\n    return a + 1\n"
    )
    words = [sys.executable, "-m", "dataflare.guest", "loud"]
    request = Frame({"op": "call", "component": "tool:shout", "input": {"a": 1}}).pack()
    done = subprocess.run(words, cwd=tmp_path, input=request, capture_output=True, timeout=60)
    answer = Frame.unpack(done.stdout)
    assert answer.header == {"output": 2, "more": True}
    assert {b"hello", b"shout"} <= set(done.stderr.split()) or b"raw" in done.stderr


def test_a_guest_whose_host_goes_ends(tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text(
        "from dataflare import Context, tool\n\n@tool\ndef ask(ctx: Context):\n    return ctx.secrets.get('x')\n"
    )
    words = [sys.executable, "-m", "dataflare.guest", "asking"]
    request = Frame({"op": "call", "component": "tool:ask"}).pack()
    done = subprocess.run(words, cwd=tmp_path, input=request, capture_output=True, timeout=60)
    stream = io.BytesIO(done.stdout)
    question, answer = Frame.read(stream), Frame.read(stream)
    assert question is not None
    assert question.header == {"op": "secret", "instance": -1, "name": "x"}
    assert answer is not None
    assert answer.header["error"]["code"] == "guest.host_gone"
    assert done.returncode == 0


def test_what_the_host_refuses_reaches_the_component_as_an_error() -> None:
    refused = {"error": {"code": "permission.denied", "message": "no", "kind": "fatal", "fix": "grant it"}}
    guest = Guest(components_in(plugin()), lambda frame: Frame(refused))
    schema = {"": {"columns": [], "open": False, "arrow": _arrow(pa.schema([("k", pa.string()), ("n", pa.int64())]))}}
    opening = {"op": "open", "instance": 1, "component": "processor:totals", "config": {"key": "k"}}
    assert guest.handle(Frame({**opening, "encoding": "json", "schemas": schema})).header == {}
    answer = guest.handle(Frame({"op": "process", "instance": 1, "part": 0}, [b'[{"k":"a","n":1}]'])).header
    assert (answer["error"]["code"], answer["error"]["fix"]) == ("permission.denied", "grant it")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.dictionaries(st.text(max_size=6).filter(lambda name: name != "parts"), JSON, max_size=4)


@given(HEADERS, st.lists(st.binary(max_size=40), max_size=4))
def test_a_frame_is_read_as_it_was_written(header: dict[str, Any], parts: list[bytes]) -> None:
    packed = Frame(header, parts).pack()
    stream = io.BytesIO(packed + packed)
    for frame in (Frame.unpack(packed), Frame.read(stream), Frame.read(stream)):
        assert frame is not None
        assert frame.header == header
        assert [bytes(part) for part in frame.parts] == parts
    assert Frame.read(stream) is None


@given(HEADERS, st.lists(st.binary(max_size=20), max_size=3), st.data())
def test_a_damaged_frame_is_refused_or_is_another_frame(
    header: dict[str, Any], parts: list[bytes], data: st.DataObject
) -> None:
    packed = bytearray(Frame(header, parts).pack())
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(Failed) as caught:
        Frame.unpack(bytes(packed[:cut]))
    assert caught.value.code == "guest.frame"
    packed[cut] ^= 1 << data.draw(st.integers(0, 7))
    assert refusal(bytes(packed)) in (None, "guest.frame")


def refusal(content: bytes) -> str | None:
    try:
        Frame.unpack(content)
    except Failed as error:
        return error.code
    return None


@given(st.binary(max_size=200))
def test_a_guest_answers_whatever_comes(given: bytes) -> None:
    guest = Guest(components_in(_PLUGIN))
    assert "error" in Frame.unpack(guest.answer(given)).header


@given(st.fixed_dictionaries({"op": st.sampled_from("open read process write splits commit plan".split())}), HEADERS)
def test_a_guest_answers_whatever_a_header_says(named: dict[str, Any], header: dict[str, Any]) -> None:
    guest = Guest(components_in(_PLUGIN))
    assert "error" in Frame.unpack(guest.answer(Frame({**header, **named}).pack())).header


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", struct.pack("<I", 1 << 21)])
def test_a_header_that_is_too_large_is_not_waited_for(size: bytes) -> None:
    with pytest.raises(Failed):
        Frame.read(io.BytesIO(size + b"{}"))


BATCHES = [
    pa.record_batch({"n": pa.array([1, None, 3]), "t": pa.array(["a", None, "ü"])}),
    pa.record_batch({"s": pa.array([{"a": [1.5, None]}, None])}),
    pa.record_batch({"d": pa.array(["x", "y", "x"]).dictionary_encode()}),
    pa.record_batch({"n": pa.array([], pa.int8())}),
    pa.record_batch({"n": pa.array(range(100_000))}),
]


@pytest.mark.parametrize("encoding", ["arrow", "json"])
@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: f"{batch.schema.names[0]}-{batch.num_rows}")
def test_a_batch_crosses_whole(batch: pa.RecordBatch, encoding: Any) -> None:
    from dataflare.schema import Schema

    crossed = decode(encode(Batch(batch), encoding), encoding, Schema(batch.schema))
    assert crossed.arrow.equals(batch)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[1]", b"{}", b"[" * 5000])
@pytest.mark.parametrize("encoding", ["arrow", "json"])
def test_a_part_that_is_no_batch_is_refused(content: bytes, encoding: Any) -> None:
    with pytest.raises(DataflareError) as caught:
        decode(content, encoding)
    assert caught.value.code in ("guest.batch", "batch.rows")


def test_a_reject_of_a_row_that_was_not_given_is_refused() -> None:
    parts = [struct.pack("<2I", 0, 3)]
    assert decode_rejects([{"code": "a", "message": "b", "part": 0}], parts, 4)[0].rows.to_pylist() == [0, 3]
    for told_, given_ in (([{"code": "a", "part": 0}], parts), ([{"code": "a", "part": 1}], parts)):
        with pytest.raises(Failed):
            decode_rejects(told_, given_, 3)


def _arrow(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


_PLUGIN = plugin()


HOSTILE = pa.record_batch(
    {
        "n": pa.array([1, None, 3]),
        "t": pa.array(["a", None, "ü"]),
        "l": pa.array([[1], None, [2, 3]]),
        "d": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
)


def stream_of(*batches: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


@settings(max_examples=400)
@given(st.data(), st.sampled_from([1, 2]))
def test_a_damaged_arrow_stream_is_refused_or_is_sound(data: st.DataObject, copies: int) -> None:
    content = bytearray(stream_of(*[HOSTILE] * copies))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    with suppress(Failed):
        made = decode(bytes(content[: data.draw(st.integers(len(content) - 40, len(content)))]), "arrow")
        made.arrow.validate(full=True)
        assert len(made.to_rows()) == len(made)


@pytest.mark.parametrize("batch", [HOSTILE, HOSTILE.select(["d"])])
def test_compressed_batches_which_may_be_bombs_are_refused(batch: pa.RecordBatch) -> None:
    assert decode(stream_of(batch, batch), "arrow").arrow.num_rows == 6
    with pytest.raises(Failed, match="compressed") as caught:
        decode(stream_of(batch, compression="zstd"), "arrow")
    assert caught.value.code == "guest.batch"
