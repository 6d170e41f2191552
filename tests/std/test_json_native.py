"""The compiled parser of JSON lines: the same rows as the tolerant readers, refusals and schemas too."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflare_std.files.blocks import Block
from dataflare_std.files.json_learn import learn
from dataflare_std.files.json_native import native_lines
from dataflare_std.files.jsonl import JsonLines
from dataflare_std.files.parsing import Parsed, Place

SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "small": pa.int8(),
        "count": pa.uint16(),
        "ratio": pa.float64(),
        "half": pa.float32(),
        "on": pa.bool_(),
        "name": pa.string(),
        "wörter": pa.list_(pa.string()),
        "at": pa.timestamp("us", "UTC"),
        "price": pa.decimal128(10, 2),
        "raw": pa.binary(),
        "where": pa.struct({"x": pa.float64(), "deep": pa.list_(pa.struct({"y": pa.int32()}))}),
        "none": pa.null(),
    }
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.decimals(-1000, 1000, places=3).map(float)


def maybe(values: st.SearchStrategy) -> st.SearchStrategy:
    """Mostly values, now and then a null."""
    return st.one_of(values, values, values, st.none())


POINTS = st.fixed_dictionaries({}, optional={"y": maybe(st.integers(-(2**31), 2**31 - 1))})
ROWS = st.fixed_dictionaries(
    {"id": maybe(st.integers(-(10**17), 10**17))},
    optional={
        "small": maybe(st.integers(-128, 127)),
        "count": maybe(st.integers(0, 65535)),
        "ratio": maybe(NUMBERS),
        "half": maybe(st.floats(width=32, allow_nan=False, allow_infinity=False)),
        "on": maybe(st.booleans()),
        "name": maybe(TEXTS),
        "wörter": maybe(st.lists(maybe(TEXTS), max_size=3)),
        "at": maybe(st.just("2026-01-02T03:04:05.678901Z")),
        "price": maybe(st.just("12.50")),
        "raw": maybe(st.just("aGFsbG8=")),
        "where": maybe(
            st.fixed_dictionaries({"x": maybe(NUMBERS)}, optional={"deep": maybe(st.lists(maybe(POINTS), max_size=3))})
        ),
        "none": st.none(),
    },
)
ODD = st.fixed_dictionaries(
    {"id": st.integers(-(2**70), 2**70) | st.just(1.5) | st.just("12") | st.booleans()},
    optional={"small": st.integers(-300, 300), "more": TEXTS, "on": st.integers(0, 1), "name": NUMBERS, "where": TEXTS},
)


def written(row: dict[str, object], spaced: bool, escaped: bool) -> str:
    """A row as a line, as one of four writers would write it."""
    return json.dumps(row, ensure_ascii=escaped, separators=(", ", ": ") if spaced else (",", ":"))


LINES = st.builds(written, ROWS, st.booleans(), st.booleans())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A line with bytes taken out or put in somewhere."""
    line = draw(LINES | st.builds(written, ODD, st.booleans(), st.booleans())).encode()
    at = draw(st.integers(0, len(line)))
    return line[:at] + draw(st.binary(max_size=2)).replace(b"\n", b"") + line[at + draw(st.integers(0, 2)) :]


def read(data: bytes, *, native: bool, fixed: bool, schema: pa.Schema = SCHEMA) -> tuple[JsonLines, Parsed]:
    """What a reader makes of a block."""
    reader = JsonLines(schema, fixed=fixed, native=native)
    try:
        return reader, reader.parse(Place("lines", Block(memoryview(data), 0, len(data)), lambda _: 1))
    finally:
        reader.close()


def rows_of(parsed: Parsed) -> list[dict[str, object]]:
    """The rows as values in which a NaN equals itself."""
    return [] if parsed.rows is None else json.loads(json.dumps(parsed.rows.to_pylist(), default=str))


def agree(data: bytes, fixed: bool) -> None:
    """Both ways give the same rows, refusals and schema."""
    fast, found = read(data, native=True, fixed=fixed)
    slow, wanted = read(data, native=False, fixed=fixed)
    assert fast.schema == slow.schema
    assert rows_of(found) == rows_of(wanted)
    assert found.refused == wanted.refused
    if found.rows is not None:
        found.rows.validate(full=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_plain_lines_are_read_as_the_others_read_them(lines: list[str], fixed: bool, ended: bool) -> None:
    data = "\n".join(lines).encode() + (b"\n" if ended else b"")
    agree(data, fixed)
    parser = native_lines(SCHEMA, lenient=fixed)
    assert parser is not None
    plain = all(
        '"deep": [{}' not in line and "{}" not in line and "-0" not in line and "\\u00f6" not in line for line in lines
    )
    assert parser.rows(memoryview(data)) is not None or not plain  # an escape in a key is left to the others


@settings(max_examples=200, deadline=None)
@given(st.lists(damaged() | LINES.map(str.encode), min_size=1, max_size=6), st.booleans())
def test_damaged_lines_are_refused_as_the_others_refuse_them(lines: list[bytes], fixed: bool) -> None:
    agree(b"\n".join(lines) + b"\n", fixed)


@settings(max_examples=25, deadline=None)
@given(st.lists(LINES | st.builds(written, ODD, st.booleans(), st.booleans()), min_size=1, max_size=6), st.booleans())
@example(['{"id":1.5,"small":0,"where":"000000000\\"\\u001f\\u001f\\u001f\\u001f\\u001f\\u0007ࠀ"}'], False)
def test_large_blocks_agree_with_the_columnar_readers(lines: list[str], fixed: bool) -> None:
    text = "\n".join(lines) + "\n"
    agree((text * ((20 << 10) // len(text.encode()) + 1)).encode(), fixed)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.sampled_from("r .17g .3f e".split()))
def test_floats_are_the_nearest_ones(numbers: list[float], form: str) -> None:
    texts = [repr(number) if form == "r" else format(number, form) for number in numbers]
    data = "".join(f'{{"x":{text}}}\n' for text in texts).encode()
    parser = native_lines(pa.schema({"x": pa.float64()}), lenient=False)
    assert parser is not None
    rows = parser.rows(memoryview(data))
    if rows is None:  # a text of 64 digits and more, or "-0", is left to the others
        assert any(len(text) >= 64 or (text.startswith("-0") and not float(text)) for text in texts)
        return
    found = rows.column(0).to_pylist()
    assert found == [float(text) for text in texts]
    assert [math.copysign(1, each) for each in found] == [math.copysign(1, float(text)) for text in texts]


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":1,"id":2}',
        b'{"id":01}',
        b'{"id":-0}',
        b'{"id":1.0}',
        b'{"id":1e2}',
        b'{"id":9223372036854775808}',
        b'{"small":128}',
        b'{"small":-129}',
        b'{"count":-1}',
        b'{"ratio":1e999}',
        b'{"ratio":1.}',
        b'{"ratio":.5}',
        b'{"ratio":"1"}',
        b'{"name":"\\ud800"}',
        b'{"name":"\\u0000"}',
        b'{"name":"\xc0\xaf"}',
        b'{"name":"\xed\xa0\x80"}',
        b'{"name":"a\tb"}',
        b'{"name":1}',
        b'{"name":"open',
        b'{"id":1',
        b'{"id":1}}',
        b'{"id":1},',
        b'{"id":1,}',
        b"{}",
        b"null",
        b"[1]",
        b'{"more":1}',
        b'{"none":0}',
        b'{"at":"yesterday"}',
        b'{"raw":"?"}',
        b'{"wh\\u0065re":null}',
    ],
)
def test_what_is_odd_is_left_to_the_others(line: bytes) -> None:
    parser = native_lines(SCHEMA, lenient=False)
    assert parser is not None
    assert parser.rows(memoryview(b'{"id":1}\n' + line + b"\n")) is None
    agree(b'{"id":1}\n' + line + b"\n", fixed=False)


def test_numbers_too_small_to_tell_from_zero_are_zero() -> None:
    agree(b'{"ratio":1e-999}\n{"ratio":-2.5e-324}\n{"ratio":4.9e-324}\n', fixed=False)


def test_keys_that_are_not_asked_for_are_checked_all_the_same() -> None:
    parser = native_lines(pa.schema({"id": pa.int64()}), lenient=True)
    assert parser is not None
    passed = b'{"a":[1,{"b":"\\u00e9"},-1.5e3,true,null],"id":7}\n'
    rows = parser.rows(memoryview(passed))
    assert rows is not None
    assert rows.to_pylist() == [{"id": 7}]
    for broken in (b"[1,]", b'{"b"}', b'"\xff"', b"nul", b"1.", b"[" * 200 + b"]" * 200):
        assert parser.rows(memoryview(b'{"a":' + broken + b',"id":7}\n')) is None, broken


def test_a_key_with_a_quote_in_it_is_not_taken_for_two() -> None:
    assert native_lines(pa.schema({'a":1,"b': pa.int64()}), lenient=False) is None


def test_a_sample_that_changes_its_mind_is_learned_whole() -> None:
    early = "".join(f'{{"a":{n},"b":null}}\n' for n in range(9000))
    late = "".join(f'{{"a":{n}.5,"b":"x","c":[{n}]}}\n' for n in range(2000))
    schema = pa.schema(learn((early + late).encode()))
    assert schema == pa.schema({"a": pa.float64(), "b": pa.string(), "c": pa.list_(pa.int64())})
    assert pa.schema(learn(early.encode())) == pa.schema({"a": pa.int64(), "b": pa.null()})
