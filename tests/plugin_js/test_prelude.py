"""What a script finds around it: a clock, randomness, a console and UTF-8 that work, and nothing of other plugins."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from plugin_js.scripts import FRAMES, Start, answering, doing

from dataflare.guest import Frame


def caught(expression: str) -> str:
    """The name of the error that an expression throws."""
    return f"(() => {{ try {{ {expression}; }} catch (error) {{ return error.name; }} }})()"


def test_the_clock_is_the_hosts(start: Start) -> None:
    guest = start(answering("[Date.now(), new Date().getTime(), Date.parse(Date()), performance.now()]"))
    before = time.time() * 1000
    first, second = guest.value(), guest.value()
    after = time.time() * 1000
    assert before - 1 <= first[0] <= first[1] <= second[0] <= second[1] <= after
    assert before - 1000 <= first[2] <= after
    assert 0 <= first[3] < second[3]


DATES = {
    "new Date(0).toISOString()": "1970-01-01T00:00:00.000Z",
    "new Date(2020, 1, 29, 12).toISOString()": "2020-02-29T12:00:00.000Z",
    "new Date('2020-02-29').getTime()": 1582934400000,
    "Date.UTC(2020, 0)": 1577836800000,
    "new Date() instanceof Date": True,
    "new Date().constructor === Date": True,
    "typeof Date()": "string",
    "new (class Day extends Date { year() { return this.getUTCFullYear(); } })(0).year()": 1970,
    "Date.name + Date.length": "Date7",
    "JSON.stringify(new Date(NaN))": "null",
}


@pytest.mark.parametrize("expression", DATES)
def test_dates_are_dates(start: Start, expression: str) -> None:
    assert start(answering(expression)).value() == DATES[expression]


def test_randomness_is_not_that_of_another_instance(start: Start) -> None:
    script = answering(
        "[crypto.randomUUID(), Math.random(), [...crypto.getRandomValues(new Uint32Array(4))], crypto.randomUUID()]"
    )
    drawn = [start(script).value() for _ in range(4)]
    uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    uuids = [each[at] for each in drawn for at in (0, 3)]
    assert all(map(uuid.fullmatch, uuids))
    assert len(set(uuids)) == 8
    assert len({each[1] for each in drawn}) == len({tuple(each[2]) for each in drawn}) == 4


def test_random_numbers_fill_their_range(start: Start) -> None:
    low, high, mean = start(
        answering(
            "(() => { const all = Array.from({ length: 5000 }, Math.random);"
            " return [Math.min(...all), Math.max(...all), all.reduce((a, b) => a + b) / all.length]; })()"
        )
    ).value()
    assert 0 <= low < 0.02
    assert 0.98 < high < 1
    assert 0.45 < mean < 0.55


@pytest.mark.parametrize(
    "wrong", ["new Float64Array(1)", "new DataView(new ArrayBuffer(1))", "[1]", "new Uint8Array(65537)"]
)
def test_random_values_fill_integers_only(start: Start, wrong: str) -> None:
    assert start(answering(caught(f"crypto.getRandomValues({wrong})"))).value() in ("TypeError", "RangeError")


def test_the_console_is_the_steps_log(start: Start) -> None:
    lines = """
    console.log("read", 3, { a: [1, null] }, [true], undefined, null, 12n, Symbol("s"), () => 1);
    console.debug("d"); console.info("i"); console.warn("w"); console.error(new Error("boom"));
    console.assert(1 === 1, "not told"); console.assert(false, "told");
    const round = {}; round.self = round; console.log(round); console.log("two\\nlines", "grüße \\ud83d\\ude00");
    """
    guest = start(doing(lines + "return pack({});"))
    guest.ask()
    told = guest.host.lines
    prefix = "odd-plugin: "
    assert told[0] == ("info", prefix + 'read 3 {"a":[1,null]} [true] undefined null 12 Symbol(s) () => 1')
    assert told[1:5] == [
        (level, prefix + text)
        for level, text in (("debug", "d"), ("info", "i"), ("warning", "w"), ("error", "Error: boom"))
    ]
    assert re.fullmatch(prefix + r".*plugin\.js:\d+:\d+\)?", told[5][1])
    rest = [(level, text.removeprefix(prefix)) for level, text in told[6:] if "plugin.js" not in text]
    assert rest == [
        ("error", "assertion failed told"),
        ("info", "[object Object]"),
        ("info", "two"),
        ("info", "lines grüße 😀"),
    ]


def test_a_flood_of_log_lines_is_cut_and_said_so(start: Start) -> None:
    guest = start(doing('for (let i = 0; i < 3000; i++) console.log("x".repeat(10000)); return pack({});'))
    guest.ask()
    assert 900 <= len(guest.host.lines) < 3000
    assert max(len(line) for _, line in guest.host.lines) < 5000


TEXTS = {
    "decoder.decode(encoder.encode('grüße \\u{1F600} \\u0000'))": "grüße 😀 \0",
    "[...encoder.encode('\\ud800')]": [239, 191, 189],
    "encoder.encode().length": 0,
    "decoder.decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61]))": "a",
    "new TextDecoder('utf-8', { ignoreBOM: true }).decode(new Uint8Array([0xef, 0xbb, 0xbf])).length": 1,
    "decoder.decode(new Uint8Array([0x61, 0xff, 0x62]))": "a�b",
    "decoder.decode(new Uint16Array([0x6261]))": "ab",
    "decoder.decode(new Uint8Array([0, 0x61, 0]).subarray(1, 2))": "a",
    "decoder.decode(new Uint8Array([0x61]).buffer)": "a",
    "decoder.decode()": "",
    "decoder.encoding + encoder.encoding": "utf-8utf-8",
    caught("new TextDecoder('utf8', { fatal: true }).decode(new Uint8Array([0xff]))"): "TypeError",
    "new TextDecoder('utf8', { fatal: true }).decode(encoder.encode('\\ufffd'))": "�",
}


@pytest.mark.parametrize("expression", TEXTS)
def test_text_is_utf_8(start: Start, expression: str) -> None:
    assert start(answering(expression)).value() == TEXTS[expression]


@pytest.mark.parametrize(
    "name", ["setTimeout", "fetch", "Request", "location", "process", "require", "Buffer", "WebAssembly", "std", "os"]
)
def test_what_cannot_work_is_not_there(start: Start, name: str) -> None:
    assert start(answering(f"typeof {name}")).value() == "undefined"


def test_nothing_leaks_from_one_plugin_to_another(start: Start) -> None:
    pollute = """
    Object.prototype.admin = true; Array.prototype.map = () => ["mine"]; globalThis.left = "behind";
    JSON.parse = () => ({ parts: [] }); Uint8Array.prototype.set = () => {}; Promise.prototype.then = null;
    Math.random = () => 4; Date.now = () => 0; console.log = null; String.prototype.trim = () => "mine";
    """
    clean = answering(
        "[typeof left, ({}).admin, [1].map((n) => n + 1), Date.now() > 0, Math.random() < 1, ' a '.trim()]"
    )
    before = start(clean)
    start(f"{pollute}\nexports.handle = () => new Uint8Array(0);")
    after = start(clean)
    wanted: list[Any] = ["undefined", None, [2], True, True, "a"]
    assert before.value() == after.value() == wanted


def test_two_instances_of_one_plugin_share_nothing(start: Start) -> None:
    script = answering("[++calls, seen.push(header.n), seen]", "let calls = 0; const seen = globalThis.seen = [];")
    first, second = start(script), start(script)
    assert [first.value(n=1), first.value(n=2), second.value(n=3)] == [[1, 1, [1]], [2, 2, [1, 2]], [1, 1, [3]]]


def test_a_script_cannot_reach_the_engines_own_functions(start: Start) -> None:
    reach = "[typeof host, typeof evaluate, typeof waiting, typeof decode, given.length]"
    handle = f"exports.handle = (...given) => pack({{ value: {reach} }});"
    assert start(f"{FRAMES}\n{handle}").value() == ["undefined"] * 4 + [2]


def test_async_code_runs_to_its_end(start: Start) -> None:
    before = """
    async function* numbers(n) { for (let i = 0; i < n; i++) yield await i; }
    const sum = async (n) => { let s = 0; for await (const i of numbers(n)) s += i; return s; };
    """
    guest = start(
        answering("(await Promise.all([sum(100), sum(10), new Promise((r) => queueMicrotask(() => r(1)))]))", before)
    )
    assert guest.value() == [4950, 45, 1]
    assert guest.transport.call(Frame({"op": "again"}), guest.host, 60).header["value"] == [4950, 45, 1]
