"""What a Go plugin reads and writes: every type of column, in both encodings, compared by pyarrow."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare import Batch
from dataflare.guest import Frame
from dataflare.guest.encoding import decode, encode
from dataflare.schema import Schema

SDK = Path(__file__).resolve().parents[2] / "sdk-go"
Ask = Callable[[Frame], Frame]
UNITS = ("s", "ms", "us", "ns")
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
LONG = "a text that is longer than a view"
VALUES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.null(), [None, None]),
    (pa.bool_(), [True, None, False] * 5),
    *((kind, [1, None, 100, 127, 0]) for kind in INTEGERS),
    (pa.int64(), [2**63 - 1, -(2**63), None]),
    (pa.uint64(), [2**64 - 1, 0]),
    (pa.float16(), [0.5, None, float("inf"), 6e-8, 65504.0, -0.0]),
    (pa.float32(), [0.1, None, float("-inf"), 1e-45]),
    (pa.float64(), [0.1, 1e300, None, 5.0]),
    (pa.decimal32(5, 2), [Decimal("1.50"), Decimal("-999.99")]),
    (pa.decimal64(15, 2), [Decimal("1.50"), None]),
    (pa.decimal128(10, 2), [Decimal("1.50"), None, Decimal("-0.05")]),
    (pa.decimal128(38, 0), [Decimal("9" * 38), Decimal("-" + "9" * 38)]),
    (pa.decimal128(5, -2), [Decimal("100"), Decimal("10000")]),
    (pa.decimal256(76, 4), [Decimal("9" * 72 + ".1234"), None, Decimal("-1.0000")]),
    *((kind, ["a", None, 'Zürich "x"\n', "", LONG]) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *((kind, [b"\0\xff", None, b"", LONG.encode()]) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    (pa.binary(2), [b"\0\xff", None]),
    (pa.date32(), [dt.date(2026, 1, 31), None, dt.date(1, 1, 1)]),
    (pa.date64(), [dt.date(1969, 12, 31), None]),
    *((pa.timestamp(u, z), [0, None, -1, 1769862600]) for u in UNITS for z in (None, "UTC", "Europe/Paris")),
    *((pa.time32(unit), [0, None, 86399]) for unit in UNITS[:2]),
    *((pa.time64(unit), [0, None, 86399]) for unit in UNITS[2:]),
    *((pa.duration(unit), [0, None, -1, 90]) for unit in UNITS),
    (pa.list_(pa.int64()), [[1, None], None, [], [3]]),
    (pa.large_list(pa.string()), [["a"], None, []]),
    (pa.list_(pa.float64(), 2), [[1.5, 2.0], None, [3.0, None]]),
    (pa.list_(pa.list_(pa.string())), [[["a"], [], None], None]),
    (pa.struct([("a", pa.int64()), ("b", pa.binary())]), [{"a": 1, "b": b"x"}, None, {"a": None, "b": None}]),
    (pa.list_(pa.struct([("a", pa.int64())])), [[{"a": 1}, None], None]),
    (pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", None)], None, []]),
    (pa.dictionary(pa.int32(), pa.string()), ["a", "b", None, "a"]),
    (pa.dictionary(pa.int8(), pa.int64()), [5, None, 7]),
]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """A plugin of the SDK as a process."""
    path = tmp_path_factory.mktemp("go") / "plugin"
    words = ["go", "build", "-buildvcs=false", "-o", str(path), "./internal/vectors/plugin"]
    subprocess.run(words, cwd=SDK, env={**os.environ, "GOPROXY": "off"}, check=True, timeout=600)
    with subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def answered(frame: Frame) -> Frame:
            frame.write(stdin)  # type: ignore[arg-type]
            answer = Frame.read(stdout)  # type: ignore[arg-type]
            assert answer is not None
            return answer

        yield answered
        stdin.close()
        assert process.wait(30) == 0


def through(ask: Ask, component: str, encoding: Any, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch as a component gave it back, read by the schema that was planned."""
    schemas = {"": Schema(batch.schema).as_json()}
    opening = {"op": "open", "instance": 1, "component": component, "encoding": encoding, "schemas": schemas}
    assert ask(Frame(opening)).header == {}
    planned = ask(Frame({"op": "plan", "instance": 1, "schemas": schemas})).header["schemas"]["out"]
    answer = ask(Frame({"op": "process", "instance": 1, "part": 0}, [encode(Batch(batch), encoding)]))
    assert ask(Frame({"op": "close", "instance": 1})).header == {}
    assert "error" not in answer.header, answer.header
    made = decode(answer.parts[0], encoding, Schema.from_json(planned)).arrow
    assert made.schema.names == Schema.from_json(planned).names
    return made


def plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


@pytest.mark.parametrize("encoding", ["arrow", "json"])
@pytest.mark.parametrize("component", ["processor:echo", "processor:counter"])
@pytest.mark.parametrize(("kind", "values"), VALUES, ids=[str(kind) for kind, _ in VALUES])
def test_every_type_comes_back(ask: Ask, kind: Any, values: list[Any], component: str, encoding: str) -> None:
    whole = pa.array(values, kind)
    for array in (whole, whole.slice(1), whole.slice(0, 0)):
        batch = pa.record_batch({"v": array, "beside": pa.array(range(len(array)))})
        made = through(ask, component, encoding, batch)
        assert plain(made.column("v")).cast(plain(array).type).equals(plain(array))
        assert made.column("beside").equals(batch.column("beside"))


@pytest.mark.parametrize("encoding", ["arrow", "json"])
def test_a_large_batch_comes_back(ask: Ask, encoding: str) -> None:
    batch = pa.record_batch({"n": pa.array(range(100_000)), "t": pa.array(["text"] * 100_000)})
    assert through(ask, "processor:counter", encoding, batch).column("row").equals(batch.column("n"))


def test_a_stream_of_no_batch_is_no_rows(ask: Ask) -> None:
    schema = pa.schema([("n", pa.int64())])
    told = {"": Schema(schema).as_json()}
    opening = {"op": "open", "instance": 1, "component": "processor:counter", "encoding": "arrow", "schemas": told}
    assert ask(Frame(opening)).header == {}
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, schema).close()
    answer = ask(Frame({"op": "process", "instance": 1, "part": 0}, [sink.getvalue().to_pybytes()]))
    assert len(decode(answer.parts[0], "arrow")) == 0
    ask(Frame({"op": "close", "instance": 1}))
