"""Frames to a script: the conversations of every SDK, and everything that a script can do wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin_js.scripts import ENGINES, FRAMES, Guest, Start, answering, doing
from vectors.conversations import CONVERSATIONS, Answering, play

from dataflare.errors import Failed
from dataflare.guest import Frame
from dataflare.hosting import GuestLost, Limits

MIB = 1 << 20


@pytest.fixture(scope="module")
def vectors(bundled: Callable[..., Path]) -> str:
    """The components that the conversations call, bundled with the SDK."""
    return bundled(Path("test/plugin.ts")).read_text("utf-8")


def test_every_conversation_goes_as_written(start: Start, vectors: str) -> None:
    guest, host = start(vectors), Answering()

    def answer(question: Frame) -> Frame:
        return Frame({}) if question.header["op"] == "metric" else host(question)

    for conversation in CONVERSATIONS:
        play(conversation, lambda frame: guest.transport.call(frame, answer, 60), host)
        guest.transport.call(Frame({"op": "close", "instance": 1}), answer, 60)


def test_batches_of_any_size_cross_whole(start: Start) -> None:
    guest = start(doing("return request;"))
    for size in (0, 1, 65_536, 20_000_000, 3, 5_000_000):
        content = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert bytes(guest.ask(parts=[content, b"", b"end"]).parts[0]) == content


def test_a_question_is_answered_in_the_middle_of_a_request(start: Start) -> None:
    guest = start(answering('[await question({ op: "secret", name: "key" }), question({ op: "state.names" })]'))
    assert [told["value"] for told in guest.value()] == ["answer to secret", "answer to state.names"]
    assert [asked["op"] for asked in guest.host.asked] == ["secret", "state.names"]


SMALL = Limits(memory=130 * MIB, output_ratio=2.0)
LOST = {
    "a loop": ("for (;;);", "guest.timeout", "longer"),
    "a regex": ('/(a|a)*c/.test("a".repeat(64));', "guest.timeout", "longer"),
    "a loop of promises": ("return (async () => { for (;;) await 0; })();", "guest.timeout", "longer"),
    "a loop of log lines": ("for (let i = 0; ; i++) console.log(i);", "guest.timeout", "longer"),
    "a loop of questions": ('for (;;) ask(pack({ op: "secret" }));', "guest.timeout", "longer"),
    "many objects": ("const all = []; for (;;) all.push({ n: [all.length] });", "guest.memory", "more memory"),
    "large arrays": ("const all = []; for (;;) all.push(new Uint8Array(1 << 20));", "guest.memory", "more memory"),
    "long texts": ('const all = []; for (let s = "x"; ; s += s) all.push([...s]);', "guest.", ""),
    "a large answer": ("return pack({}, [new Uint8Array(70000)]);", "guest.output", "more than 2 times"),
    "recursion": ("const deep = () => deep() + 1; return deep();", "guest.trap", "at deep (plugin.js:"),
    "deep JSON": ('JSON.parse("[".repeat(1e6)); return request;', "guest.", ""),
    "an error": ('\nthrow new RangeError("too bad");', "guest.trap", "RangeError: too bad\n  at handle (plugin.js:"),
    "an error later": ('return (async () => { await 0; throw new Error("late"); })();', "guest.trap", "Error: late"),
    "a text thrown": ('throw "just text";', "guest.trap", "just text"),
    "nothing thrown": ("throw undefined;", "guest.trap", "undefined"),
    "an error that lies": ("throw { toString() { throw 1; } };", "guest.trap", "an error that cannot be told"),
    "a promise that never settles": ("return new Promise(() => {});", "guest.trap", "never settles"),
    "a text": ('return "text";', "guest.trap", "must return a Uint8Array"),
    "nothing": ("return undefined;", "guest.trap", "must return a Uint8Array"),
    "numbers": ("return new Float64Array(2);", "guest.trap", "must return a Uint8Array"),
    "no bytes": ("return new Uint8Array(0);", "guest.frame", "shorter than the length"),
    "no header": ("return new Uint8Array([255, 255, 255, 255]);", "guest.frame", "header of 4,294,967,295 bytes"),
    "a huge header": ('return pack({ text: "x".repeat(1 << 21) });', "guest.", ""),
    "parts that lie": (
        "const f = pack({}, [request]); return f.subarray(0, f.length - 1);",
        "guest.frame",
        "its parts",
    ),
    "a detached array": ("structuredClone(request, { transfer: [request.buffer] }); return request;", "guest.", ""),
    "no timers": ("setTimeout(() => 0, 10);", "guest.trap", "setTimeout"),
    "no fetch": ('return fetch("https://example.com");', "guest.trap", "fetch"),
    "no modules": ('require("fs");', "guest.trap", "require"),
}


@pytest.mark.parametrize("deed", LOST)
def test_a_script_that_is_lost_says_how_and_the_host_goes_on(start: Start, deed: str) -> None:
    statements, code, cause = LOST[deed]
    other = start(answering("header.n + 1"))
    guest = start(doing(statements), limits=SMALL)
    with pytest.raises(GuestLost) as caught:
        guest.ask("process", component="processor:odd", seconds=0.5 if code in ("guest.timeout", "guest.") else 60)
    (problem,) = caught.value.problems
    assert problem.code.startswith(code)
    assert "`odd-plugin` was lost in `process` of `processor:odd`" in problem.message
    assert cause in (problem.cause or "")
    assert not (problem.cause or "").count("starling.js")
    with pytest.raises(GuestLost):
        guest.ask("process")
    assert other.value(n=1) == 2


BROKEN = {
    "\nlet a = ;": "SyntaxError",
    'exports.handle = 1; throw new Error("at the start");': "Error: at the start",
    "exports.other = 1;": "the script exports no function `handle`",
    "for (;;);": "longer",
    "}); globalThis.out = 1; (function () {": "module is not defined",
}


@pytest.mark.parametrize("script", BROKEN)
def test_a_script_that_cannot_be_loaded_says_why(start: Start, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflare_js.guest.START", 0.5)
    with pytest.raises(GuestLost, match="`odd-plugin` was lost in `start`") as caught:
        start(script)
    assert BROKEN[script] in (caught.value.problems[0].cause or "")


def test_an_error_that_is_answered_leaves_the_script_usable(start: Start) -> None:
    script = """
    let calls = 0;
    exports.handle = (request) => {
      calls++;
      const error = { code: "shop.closed", message: "not today" };
      return pack(unpack(request).header.op === "refuse" ? { error } : { value: calls });
    };
    """
    guest = start(FRAMES + script)
    assert guest.ask("refuse").header["error"]["code"] == "shop.closed"
    assert guest.value() == 2


HEADERS = [b"{}", b"[]", b'{"parts":[1]}', b'{"parts":[-1]}', b'{"parts":{}}', b"{", b'{"a":NaN}', b'{"a":"\xff"}']
ANSWERS = st.builds(
    lambda header, rest: len(header).to_bytes(4, "little") + header + rest,
    st.sampled_from(HEADERS),
    st.binary(max_size=3),
)


@pytest.mark.parametrize("name", ENGINES)
def test_whatever_bytes_a_script_answers_are_a_frame_or_its_end(name: str) -> None:
    running: list[Guest] = []

    @settings(max_examples=60)
    @given(st.binary(max_size=64) | ANSWERS)
    def check(content: bytes) -> None:
        if not running:
            running.append(Guest(name, doing("return unpack(request).parts[0];"), Limits(), None, "odd-plugin"))
        try:
            wanted = Frame.unpack(content)
        except Failed:
            with pytest.raises(GuestLost, match=r"guest\.frame"):
                running.pop().ask(parts=[content])
        else:
            assert running[0].ask(parts=[content]) == wanted

    check()


def test_a_question_that_is_no_frame_is_refused(start: Start) -> None:
    script = f"{FRAMES}\nexports.handle = (request, ask) => ask(unpack(request).parts[0]);"
    guest = start(script)
    for content in (b"", b"\xff\xff\xff\xff", b"\x02\x00\x00\x00{}more", b"\x01\x00\x00\x00{"):
        assert guest.ask(parts=[content]).header["error"]["code"] == "guest.frame"


def test_a_script_that_works_is_ended_from_another_thread(start: Start) -> None:
    guest, begun = start(doing('ask(pack({ op: "begun" })); for (;;);')), threading.Event()
    caught: list[GuestLost] = []

    def call() -> None:
        try:
            guest.transport.call(Frame({"op": "process"}), lambda _: (begun.set(), Frame({}))[1], 60)
        except GuestLost as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert begun.wait(30)
    guest.transport.close()
    thread.join(30)
    assert not thread.is_alive()
    assert caught[0].code == "guest.exited"


def test_memory_is_flat_over_many_batches(start: Start) -> None:
    script = answering("JSON.parse(decoder.decode(parts[0])).map((row) => ({ ...row, twice: row.n * 2 })).length")
    guest, rows = (
        start(script, limits=Limits(memory=128 * MIB)),
        b"[" + b",".join(b'{"n":%d}' % n for n in range(2000)) + b"]",
    )
    for _ in range(300):
        assert guest.value(parts=[rows]) == 2000
    assert guest.transport.memory < 128 * MIB
