"""Errors name the author's file and line, through the bundle's source map."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin_js.scripts import Start, doing

from dataflare.guest import Frame
from dataflare.hosting import GuestLost
from dataflare_js.places import Places

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
PLUGIN = """\
import { processor, t, tool } from "@dataflare/sdk";

interface Reading {
  celsius: number;
}

function fahrenheit(reading: Reading): number {
  if (reading.celsius < -273) {
    throw new RangeError("below absolute zero");
  }
  return (reading.celsius * 9) / 5 + 32;
}

export const convert = tool({
  doc: "Converts.",
  input: t.Object({ celsius: t.Number() }),
  call: ({ celsius }) => {
    console.warn(`at ${new Error("here").stack}`);
    return fahrenheit({ celsius });
  },
});
"""


def encoded(number: int) -> str:
    rest = (-number << 1) | 1 if number < 0 else number << 1
    text = ""
    while True:
        digit, rest = rest & 31, rest >> 5
        text += DIGITS[digit | (32 if rest else 0)]
        if not rest:
            return text


def source_map(lines: list[list[tuple[int, int, int, int]]], sources: list[str]) -> bytes:
    """A source map of (column, source, line, column) for each line of the bundle."""
    source = line = column = 0
    groups = []
    for mapped in lines:
        at, segments = 0, []
        for to, own_source, own_line, own_column in mapped:
            deltas = (to - at, own_source - source, own_line - line, own_column - column)
            segments.append("".join(map(encoded, deltas)))
            at, source, line, column = to, own_source, own_line, own_column
        groups.append(",".join(segments))
    return json.dumps({"version": 3, "sources": sources, "mappings": ";".join(groups)}).encode()


SPOTS = st.integers(0, 1 << 20)
LINES = st.lists(
    st.dictionaries(SPOTS, st.tuples(st.integers(0, 2), SPOTS, SPOTS), max_size=5).map(
        lambda found: [(at, *told) for at, told in sorted(found.items())]
    ),
    min_size=1,
    max_size=6,
)


@given(LINES)
def test_each_mapped_place_is_found_again(lines: list[list[tuple[int, int, int, int]]]) -> None:
    places = Places(source_map(lines, ["a.ts", "../src/b.ts", "./c.ts"]))
    for number, mapped in enumerate(lines):
        for at, source, line, column in mapped:
            assert places.place(number + 2, at + 1) == f"{['a.ts', 'src/b.ts', 'c.ts'][source]}:{line + 1}:{column + 1}"


@given(
    st.binary(max_size=80)
    | st.text(max_size=60).map(lambda text: json.dumps({"sources": ["a"], "mappings": text}).encode())
)
def test_a_map_that_is_none_leaves_the_bundles_places(content: bytes) -> None:
    assert Places(content).place(7, 3).count(":") == 2


def test_a_place_between_two_is_that_of_the_one_before() -> None:
    places = Places(source_map([[(4, 0, 9, 2), (20, 0, 11, 0)]], ["a.ts"]))
    assert [places.place(2, column) for column in (1, 5, 20, 21, 900)] == [
        "plugin.js:1:1",
        "a.ts:10:3",
        "a.ts:10:3",
        "a.ts:12:1",
        "a.ts:12:1",
    ]


def test_an_error_that_the_sdk_caught_names_the_authors_line(start: Start, bundled: Callable[[str], Path]) -> None:
    bundle = bundled(PLUGIN)
    guest = start(bundle.read_text("utf-8"), source_map=bundle.with_name("plugin.js.map").read_bytes())
    call = {"op": "call", "component": "tool:convert", "config": {}}
    assert guest.ask(**call, input={"celsius": 100}).header["output"] == 212
    error = guest.ask(**call, input={"celsius": -300}).header["error"]
    assert error["message"] == "below absolute zero"
    assert error["cause"].startswith("RangeError at src/plugin.ts:9:")
    first, second = error["details"]["stack"].splitlines()[:2]
    assert first.startswith("  at ")
    assert "src/plugin.ts:9:" in first
    assert "src/plugin.ts:19:" in second
    assert any("src/plugin.ts:18:" in line for _, line in guest.host.lines)
    assert not any("plugin.js:" in line for _, line in guest.host.lines)


def test_an_error_that_nobody_caught_names_the_bundles_line_where_there_is_no_map(start: Start) -> None:
    with pytest.raises(GuestLost) as caught:
        start("exports.handle = function handle() {\n\n  throw new TypeError('no');\n};").ask()
    cause = (caught.value.problems[0].cause or "").splitlines()
    assert cause[0] == "TypeError: no"
    assert cause[1].startswith("  at ")
    assert "plugin.js:3:" in cause[1]


def test_a_syntax_error_has_its_line(start: Start) -> None:
    with pytest.raises(GuestLost) as caught:
        start("// one\n// two\nlet = = 3;")
    assert "plugin.js:3:" in (caught.value.problems[0].cause or "")


def test_a_long_stack_is_cut(start: Start) -> None:
    with pytest.raises(GuestLost) as caught:
        start(doing("const deep = (n) => { if (n) return deep(n - 1) + 1; throw new Error('deep'); }; deep(60);")).ask()
    lines = (caught.value.problems[0].cause or "").splitlines()
    assert len(lines) < 25


def test_a_stack_that_is_no_text_stays_as_it_is(start: Start) -> None:
    for told in ("{ stack: 3 }", "[1]", "null", '"text"'):
        guest = start(doing(f'return pack({{ error: {{ code: "a.b", details: {told} }} }});'))
        assert guest.ask().header["error"]["code"] == "a.b"
    guest = start(doing('return pack({ error: "text" });'))
    assert guest.transport.call(Frame({"op": "x"}), guest.host, 60).header == {"error": "text"}
