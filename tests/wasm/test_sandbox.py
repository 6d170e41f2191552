"""A sandbox bounds what a module may use, and says why it ended."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from dataflare.errors import ConfigError
from dataflare_wasm.cache import Cache
from dataflare_wasm.ending import Ended
from dataflare_wasm.engine import Engine, Settings
from dataflare_wasm.memory import OutOfMemory
from dataflare_wasm.sandbox import Import, Sandbox

HOSTILE = """
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\\10\\00\\00\\00\\05\\00\\00\\00")
  (data (i32.const 16) "oops\\n")
  (func (export "fine") (param i32) (result i32) (local.get 0))
  (func (export "spin") (loop $l (br $l)))
  (func $deep (export "recurse") (call $deep) (call $deep))
  (func (export "grow") (result i32)
    (loop $l (result i32) (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))) unreachable))
  (func (export "exit") (param i32) (call $exit (local.get 0)))
  (func (export "trap") unreachable)
  (func (export "beyond") (drop (i32.load (i32.const -4))))
  (func (export "complain") (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) unreachable)
  (func (export "sleep") (param $nanoseconds i64) (result i32)
    (i64.store (i32.const 1024) (i64.const 77))
    (i32.store8 (i32.const 1032) (i32.const 0))
    (i32.store (i32.const 1040) (i32.const 1))
    (i64.store (i32.const 1048) (local.get $nanoseconds))
    (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 4096)))
)"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(cache=Cache(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def sandbox(engine: Engine) -> Iterator[Sandbox]:
    made = Sandbox(engine, engine.module(bytes(wasmtime.wat2wasm(HOSTILE))), plugin="hostile", memory=4 << 20)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("export", "given", "code", "says"),
    [
        ("spin", (), "guest.timeout", "longer"),
        ("recurse", (), "guest.trap", "nested too deep"),
        ("grow", (), "guest.memory", "4,194,304"),
        ("exit", (3,), "guest.exited", "code 3"),
        ("exit", (0,), "guest.exited", "code 0"),
        ("trap", (), "guest.trap", "unreachable"),
        ("beyond", (), "guest.trap", "out of bounds"),
        ("complain", (), "guest.trap", "oops"),
        ("sleep", (5_000_000_000,), "guest.timeout", "sleep for 5 s"),
    ],
)
def test_a_hostile_call_ends_the_guest_and_says_why(
    sandbox: Sandbox, export: str, given: tuple[int, ...], code: str, says: str
) -> None:
    with pytest.raises(Ended, match=says) as ended, sandbox.within(0.3):
        sandbox.call(export, *given)
    assert ended.value.code == code
    with pytest.raises(Ended), sandbox.within(1):
        sandbox.call("fine", 1)


def test_what_stays_within_its_bounds_goes_on(sandbox: Sandbox) -> None:
    for _ in range(3):
        with sandbox.within(5):
            assert sandbox.call("sleep", 1_000_000) == 0
            assert sandbox.call("fine", 7) == 7
    assert sandbox.memory.read(2048, 8) == (77).to_bytes(8, "little")
    assert sandbox.memory.read(4096, 4) == (1).to_bytes(4, "little")


def test_nothing_outside_of_its_memory_is_read_or_written(sandbox: Sandbox) -> None:
    size = sandbox.memory.size
    sandbox.memory.write(size - 4, [b"ab", memoryview(b"cd")])
    assert sandbox.memory.read(size - 4, 4) == b"abcd"
    for at, length in ((size - 3, 4), (-1, 2), (0, -1), (size, 1), (-(2**31), 1)):
        with pytest.raises(OutOfMemory):
            sandbox.memory.read(at, length)
    for at in (size - 3, -1, -4, size):
        with pytest.raises(OutOfMemory):
            sandbox.memory.write(at, [b"abcd"])
    assert sandbox.memory.read(size - 4, 4) == b"abcd"


def test_another_thread_can_end_a_guest_that_runs(engine: Engine) -> None:
    begun = threading.Event()

    def imports(_: Sandbox) -> list[Import]:
        return [Import("host", "begun", (), (), begun.set)]

    text = """(module (import "host" "begun" (func $b)) (memory (export "memory") 1)
      (func (export "run") (call $b) (loop $l (br $l))))"""
    sandbox = Sandbox(engine, engine.module(bytes(wasmtime.wat2wasm(text))), imports, plugin="endless")

    def close() -> None:
        begun.wait()
        sandbox.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(Ended, match="closed"), sandbox.within(60):
        sandbox.call("run")
    closing.join()


def test_a_start_that_never_ends_is_ended(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflare_wasm.sandbox.START", 0.2)
    text = '(module (memory (export "memory") 1) (func $s (loop $l (br $l))) (start $s))'
    with pytest.raises(Ended) as ended:
        Sandbox(engine, engine.module(bytes(wasmtime.wat2wasm(text))), plugin="endless")
    assert ended.value.code == "guest.timeout"


def test_a_module_that_needs_more_memory_than_it_may_have_does_not_start(engine: Engine) -> None:
    module = engine.module(bytes(wasmtime.wat2wasm('(module (memory (export "memory") 100))')))
    with pytest.raises(Ended) as ended:
        Sandbox(engine, module, plugin="large", memory=1 << 20)
    assert ended.value.code == "guest.memory"


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", b"\0asm\1\0\0\0junk", b"(module)", b"\x7fELF" + b"\0" * 64, b"\0asm\x0d\0\1\0"],
    ids=["empty", "junk", "cut", "text", "compiled", "component"],
)
def test_what_is_no_core_module_is_refused(engine: Engine, content: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        engine.module(content)
    assert refused.value.code == "plugin.wasm_invalid"


def test_a_compiled_module_is_never_taken_from_an_author(engine: Engine) -> None:
    native = bytes(engine.module(bytes(wasmtime.wat2wasm("(module)"))).serialize())
    with pytest.raises(ConfigError, match="wasm_invalid"):
        engine.module(native)


def test_threads_and_large_memories_are_refused(engine: Engine) -> None:
    for memory in ("(memory 1 2 shared)", "(memory i64 1)"):
        with pytest.raises(ConfigError, match="wasm_invalid"):
            engine.module(bytes(wasmtime.wat2wasm(f"(module {memory})")))


def test_a_stack_that_would_end_the_process_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="2 MiB"):
        Settings(stack=8 << 20)


class Counting(Engine):
    """An engine that counts what it compiles."""

    compiled = 0

    def compile(self, content: bytes) -> wasmtime.Module:
        self.compiled += 1
        return super().compile(content)


ONE = bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "f") (result i32) (i32.const 1)))'))
TWO = bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "f") (result i32) (i32.const 2)))'))


def answer(engine: Engine, content: bytes) -> int:
    sandbox = Sandbox(engine, engine.module(content), plugin="cached")
    with sandbox.within(5):
        found: int = sandbox.call("f")
    sandbox.close()
    return found


def test_a_module_is_compiled_once_for_all_processes(tmp_path: Path) -> None:
    first, second = Counting(cache=Cache(tmp_path)), Counting(cache=Cache(tmp_path))
    assert [answer(first, ONE), answer(first, ONE), answer(second, ONE)] == [1, 1, 1]
    assert (first.compiled, second.compiled) == (1, 0)
    other = Counting(Settings(stack=1 << 20), Cache(tmp_path))
    assert answer(other, ONE) == 1
    assert other.compiled == 1


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize("what", ["code", "code, same time", "seal", "no seal", "empty seal", "exchanged", "key"])
def test_a_cache_that_was_tampered_with_is_made_again(tmp_path: Path, what: str) -> None:
    assert (answer(Engine(cache=Cache(tmp_path)), ONE), answer(Engine(cache=Cache(tmp_path)), TWO)) == (1, 2)
    codes = sorted(tmp_path.glob("*.cwasm"))
    for code, other in zip(codes, reversed(codes), strict=True):
        seal, told = code.with_name(f"{code.name}.seal"), code.stat()
        if what.startswith("code"):
            with code.open("r+b") as file:
                changed = flipped(file.read())
                file.seek(0)
                file.write(changed)
            if "time" in what:
                os.utime(code, ns=(told.st_atime_ns, told.st_mtime_ns))
        elif what == "seal":
            seal.write_text(seal.read_text().replace('"sealed": "', '"sealed": "0'))
        elif what == "no seal":
            seal.unlink()
        elif what == "empty seal":
            seal.write_bytes(b"")
        elif what == "key":
            (tmp_path / "key").write_bytes(os.urandom(32))
        elif code < other:
            for one, two in ((code, other), (seal, other.with_name(f"{other.name}.seal"))):
                held = one.read_bytes()
                one.write_bytes(two.read_bytes())
                two.write_bytes(held)
    engine = Counting(cache=Cache(tmp_path))
    assert (answer(engine, ONE), answer(engine, TWO)) == (1, 2)
    assert engine.compiled == 2
    again = Counting(cache=Cache(tmp_path))
    assert (answer(again, ONE), answer(again, TWO), again.compiled) == (1, 2, 0)


def test_a_cache_that_was_copied_is_checked_and_used(tmp_path: Path) -> None:
    assert answer(Engine(cache=Cache(tmp_path / "one")), ONE) == 1
    (tmp_path / "two").mkdir(mode=0o700)
    for file in (tmp_path / "one").iterdir():
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
    engine = Counting(cache=Cache(tmp_path / "two"))
    assert (answer(engine, ONE), engine.compiled) == (1, 0)


def test_a_folder_that_others_may_write_to_is_no_cache(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert answer(Engine(cache=Cache(tmp_path)), ONE) == 1
    assert list(tmp_path.iterdir()) == []
