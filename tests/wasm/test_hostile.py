"""Guests that do what no plugin should: the host goes on, others do not notice, the error says who, where and why."""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from dataflare.context import Context
from dataflare.drive import ToolDriver, driver_for
from dataflare.errors import Failed
from dataflare.guest import Frame
from dataflare.hosting import GuestLost, Guests, Limits, component_classes
from dataflare_wasm.engine import engine
from dataflare_wasm.guest import WasmGuest

LIMITS = Limits(memory=64 << 20, wall_per_batch=0.5)


class Host:
    """Answers a guest's questions, and remembers them."""

    def __init__(self) -> None:
        self.questions: list[dict[str, Any]] = []

    def __call__(self, frame: Frame) -> Frame:
        self.questions.append(frame.header)
        return Frame({"value": "secret"} if frame.header["op"] == "secret" else {})

    def lines(self) -> list[str]:
        """What was logged."""
        return [str(told["message"]) for told in self.questions if told["op"] == "log"]


def do(what: str) -> Frame:
    return Frame({"op": "call", "component": "tool:do", "config": {}, "input": {"what": what}})


@pytest.fixture
def guest(misbehaving: Path) -> Iterator[WasmGuest]:
    made = WasmGuest(engine(), engine().module(misbehaving), LIMITS, "acme")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("loop", "guest.timeout", "longer than the call may take"),
        ("recurse", "guest.trap", "nested too deep|stack exceeds|stack overflow"),
        ("memory", "guest.memory", "67,108,864 bytes"),
        ("sleep", "guest.timeout", "sleep for 3600 s"),
        ("exit 0", "guest.exited", "code 0"),
        ("exit 3", "guest.exited", "code 3"),
        ("panic beside", "guest.trap", "panic: beside"),
        ("deadlock", "guest.trap", "all goroutines are asleep"),
    ],
)
def test_a_guest_that_ends_is_lost_and_others_do_not_notice(
    misbehaving: Path, guest: WasmGuest, what: str, code: str, says: str
) -> None:
    other, host = WasmGuest(engine(), engine().module(misbehaving), LIMITS, "other"), Host()
    with pytest.raises(GuestLost, match=says) as lost:
        guest.call(do(what), host, 1)
    (problem,) = lost.value.problems
    assert problem.code == code
    assert problem.message == "`acme` was lost in `call` of `tool:do`"
    assert other.call(do("nap"), host, 10).header["output"] == "nap"
    other.close()
    with pytest.raises(GuestLost):
        guest.call(do("nap"), host, 10)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("panic", "on purpose"),
        ("file", "Bad file number"),
        ("write", "Bad file number"),
        ("folder", "Bad file number"),
        ("environment", r"\[\] \[\]"),
    ],
)
def test_an_error_of_the_guest_is_its_answer_and_it_goes_on(guest: WasmGuest, what: str, says: str) -> None:
    answer = guest.call(do(what), Host(), 10).header
    assert "error" in answer
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(answer["error"])
    assert guest.call(do("nap"), Host(), 10).header["output"] == "nap"


@pytest.mark.parametrize("what", ["flood", "flood host"])
def test_a_flood_of_lines_is_capped_and_counted(guest: WasmGuest, what: str) -> None:
    host = Host()
    assert guest.call(do(what), host, 30).header["output"] == what
    assert 900 < len(host.lines()) < 4000


def test_lines_are_cut_and_attributed(guest: WasmGuest) -> None:
    host = Host()
    guest.call(do("long line"), host, 30)
    long, short = host.lines()
    assert (len(long), short) == (len("acme: ") + 4096, "acme: short")


def test_what_is_said_outside_of_a_step_goes_to_the_log_of_the_plugin(caplog: pytest.LogCaptureFixture) -> None:
    text = """(import "dataflare" "log" (func $log (param i32 i32 i32)))
      (data (i32.const 0) "starting") (func $s (call $log (i32.const 2) (i32.const 0) (i32.const 8)))
      (export "_initialize" (func $s))"""
    with caplog.at_level(logging.INFO, "dataflare.plugin.acme"):
        of(text).close()
    assert ("dataflare.plugin.acme", logging.WARNING, "starting") in caplog.record_tuples


def of(text: str, *, answer: str = "(i64.const 0)", reserve: str = "(i32.const 1024)", **limits: Any) -> WasmGuest:
    """A guest from the text of its module."""
    found = f"""(module {
        text.replace("(data", '(memory (export "memory") 2) (data', 1)
        if "(data" in text
        else text + '(memory (export "memory") 2)'
    }
      (func (export "dataflare_abi") (result i32) (i32.const 1))
      (func (export "dataflare_reserve") (param i32) (result i32) {reserve})
      (func (export "dataflare_call") (param $length i32) (result i64) {answer}))"""
    return WasmGuest(engine(), engine().module(bytes(wasmtime.wat2wasm(found))), Limits(**limits), "acme")


def told(at: int, length: int) -> str:
    return f"(i64.const {(at << 32) | length})"


BEYOND = (2**32 - 4, 2 * 65536 - 4, 2**31)


@pytest.mark.parametrize("at", BEYOND)
def test_a_place_for_the_request_outside_of_its_memory(at: int) -> None:
    with pytest.raises(GuestLost, match="outside of its memory") as lost:
        of("", reserve=f"(i32.const {at})").call(Frame({"op": "describe"}), Host(), 5)
    assert lost.value.code == "guest.frame"


@pytest.mark.parametrize(("at", "length"), [*((at, 8) for at in BEYOND), (0, 2**32 - 1), (2**32 - 1, 2**32 - 1)])
def test_an_answer_outside_of_its_memory(at: int, length: int) -> None:
    with pytest.raises(GuestLost, match="outside of its memory") as lost:
        of("", answer=told(at, length)).call(Frame({"op": "describe"}), Host(), 5)
    assert lost.value.code == "guest.frame"


HOST = """(import "dataflare" "host_call" (func $host_call (param i32 i32) (result i32)))
  (import "dataflare" "host_read" (func $host_read (param i32)))
  (import "dataflare" "log" (func $log (param i32 i32 i32)))"""
FINE = Frame({"fine": True}).pack()
QUESTION = Frame({"op": "secret", "name": "x"}).pack()


def data(at: int, content: bytes) -> str:
    return f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in content)}")'


ASKING = f"{HOST} {data(0, FINE)} {data(256, QUESTION)}"
ASK = f"(call $host_call (i32.const 256) (i32.const {len(QUESTION)}))"


@pytest.mark.parametrize(
    "work",
    [
        *(f"(drop (call $host_call (i32.const {at}) (i32.const 8)))" for at in BEYOND),
        "(drop (call $host_call (i32.const 0) (i32.const -1)))",
        *(f"(drop {ASK}) (call $host_read (i32.const {at}))" for at in BEYOND),
        "(call $host_read (i32.const 0))",
        f"(drop {ASK}) (call $host_read (i32.const 512)) (call $host_read (i32.const 512))",
        *(f"(call $log (i32.const 0) (i32.const {at}) (i32.const 8))" for at in BEYOND),
    ],
)
def test_a_host_function_asked_for_what_is_not_there(work: str) -> None:
    guest = of(ASKING, answer=f"{work} {told(0, len(FINE))}")
    with pytest.raises(GuestLost, match=r"in (host_call|host_read|log): ") as lost:
        guest.call(Frame({"op": "describe"}), Host(), 5)
    assert lost.value.code == "guest.frame"


def test_the_right_question_is_answered() -> None:
    host = Host()
    copied = f"(drop {ASK}) (call $host_read (i32.const 4096))"
    answer = Frame({"value": "secret"}).pack()
    assert of(ASKING, answer=f"{copied} {told(4096, len(answer))}").call(Frame({"op": "x"}), host, 5).header == {
        "value": "secret"
    }


def test_a_question_that_is_no_frame_is_answered_with_an_error() -> None:
    work = "(i64.extend_i32_u (call $host_call (i32.const 0) (i32.const 3))) (call $host_read (i32.const 4096))"
    answer = f"{work} (i64.or (i64.const {4096 << 32}))"
    assert of(ASKING, answer=answer).call(Frame({"op": "x"}), Host(), 5).header["error"]["code"] == "guest.frame"


@pytest.mark.parametrize("seconds", [0.2])
@pytest.mark.parametrize("work", [ASK, "(call $host_call (i32.const 0) (i32.const 0))"])
def test_asking_for_ever_ends_with_the_deadline(work: str, seconds: float) -> None:
    guest = of(ASKING, answer=f"(loop $again (drop {work}) (br $again)) (i64.const 0)")
    with pytest.raises(GuestLost) as lost:
        guest.call(Frame({"op": "describe"}), Host(), seconds)
    assert lost.value.code == "guest.timeout"


def test_a_host_that_is_asked_does_not_enter_the_guest_again() -> None:
    guest, refused = of(ASKING, answer=f"(drop {ASK}) {told(0, len(FINE))}"), []

    def again(frame: Frame) -> Frame:
        if frame.header["op"] == "secret":
            with pytest.raises(Failed) as busy:
                guest.call(Frame({"op": "describe"}), Host(), 5)
            refused.append(busy.value.code)
        return Frame({})

    assert guest.call(Frame({"op": "describe"}), again, 5).header == {"fine": True}
    assert refused == ["guest.busy"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\0", b"\xff\xff\xff\xff{}", b"\2\0\0\0[]", b"\2\0\0\0{}x", b'\x0c\0\0\0{"parts":[9]}', FINE[:-1]],
)
def test_an_answer_that_is_no_frame(content: bytes) -> None:
    with pytest.raises(GuestLost) as lost:
        of(data(0, content or b"\0"), answer=told(0, len(content))).call(Frame({"op": "describe"}), Host(), 5)
    assert (lost.value.code, "describe" in lost.value.problems[0].message) == ("guest.frame", True)


@given(
    st.binary(max_size=120)
    | st.builds(lambda size, rest: struct.pack("<I", size) + rest, st.integers(0, 60), st.binary(max_size=60))
)
def test_an_answer_of_any_bytes_is_a_frame_or_a_loss(content: bytes) -> None:
    guest, wanted = of(data(0, content or b"\0"), answer=told(0, len(content))), None
    with suppress(Failed):
        wanted = Frame.unpack(content)
    if wanted is None:
        with pytest.raises(GuestLost) as lost:
            guest.call(Frame({"op": "describe"}), Host(), 5)
        assert lost.value.code == "guest.frame"
    else:
        assert guest.call(Frame({"op": "describe"}), Host(), 5) == wanted
    guest.close()


def test_an_answer_beyond_its_ratio_is_refused() -> None:
    large = Frame({}, [bytes(80_000)]).pack()
    guest = of(data(0, large), answer=told(0, len(large)), output_ratio=2.0)
    with pytest.raises(GuestLost, match="more than 2 times") as lost:
        guest.call(Frame({"op": "describe"}), Host(), 5)
    assert lost.value.code == "guest.output"
    guest = of(data(0, large), answer=told(0, len(large)), output_ratio=2.0)
    assert len(guest.call(Frame({"op": "describe"}, [bytes(40_000)]), Host(), 5).parts[0]) == 80_000


def test_a_guest_that_is_closed_says_so(guest: WasmGuest) -> None:
    guest.close()
    guest.close()
    with pytest.raises(GuestLost, match="it was closed") as lost:
        guest.call(do("nap"), Host(), 5)
    assert lost.value.code == "guest.exited"


def test_answers_with_more_for_ever_come_to_an_end() -> None:
    endless = Frame({"progress": 1, "more": True}).pack()
    told_of_it = {"kind": "tool", "name": "endless", "operations": ["call"]}
    guests = Guests(lambda: of(data(0, endless), answer=told(0, len(endless))))
    (made,) = component_classes({"protocol": 1, "components": [told_of_it]}, guests, Limits(), "acme")
    driver = driver_for(made(), Context())
    assert isinstance(driver, ToolDriver)
    with pytest.raises(GuestLost, match="`tool:endless` does not come to an end") as lost:
        deque(driver.call({}), maxlen=0)
    assert lost.value.code == "guest.output"
