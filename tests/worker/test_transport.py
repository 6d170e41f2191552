"""Frames to a guest in a process: the conversations, and everything that such a process can do wrong."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from vectors.conversations import CONVERSATIONS, VECTORS, Answering, play
from worker.processes import HERE, ROWS, Guest, group_of, is_alive, no_questions, until

from dataflare.guest import Frame
from dataflare.hosting import GuestLost
from dataflare_worker.process import Launch
from dataflare_worker.starts import Processes
from dataflare_worker.transport import ProcessTransport

Start = Callable[..., Guest]


@pytest.mark.parametrize("shared_from", [None, 0, 1 << 20])
def test_every_conversation_goes_as_written(shared_from: int | None) -> None:
    host = Answering()
    transport = ProcessTransport(
        Launch("vectors", Path(sys.executable), ["guest_plugin"], [VECTORS], shared_from=shared_from)
    )
    for conversation in CONVERSATIONS:
        play(conversation, lambda frame: transport.call(frame, host, 60), host)
        transport.call(Frame({"op": "close", "instance": 1}), host, 60)
    transport.close()
    assert not is_alive(transport.pid)


@pytest.mark.parametrize("shared_from", [None, 1 << 20])
def test_large_batches_cross_whole_again_and_again(start: Start, shared_from: int | None) -> None:
    guest = start(shared_from=shared_from).open(deed="print")
    for rows in (10, 1_000_000, 3_000_000, 100, 2_000_000):
        batch = pa.record_batch({"n": pa.array(range(rows))})
        assert guest.process(batch).equals(batch)


LOST = {
    "kill": ("guest.exited", "it was ended by SIGKILL"),
    "segv": ("guest.exited", "it was ended by SIGSEGV"),
    "exit": ("guest.exited", "it ended with exit status 3"),
    "os_exit": ("guest.exited", "it ended with exit status 4"),
    "exit_after_forking": ("guest.exited", "it ended with exit status 7"),
    "half": ("guest.exited", "it was ended by SIGKILL"),
    "garbage": ("guest.frame", "it names a header of 4,294,967,295 bytes"),
    "close_pipe": ("guest.exited", "it closed its pipe"),
    "hang": ("guest.timeout", "it took longer than 1 s"),
    "hold": ("guest.timeout", "it took longer than 1 s"),
    "stubborn": ("guest.timeout", "it took longer than 1 s"),
}


@pytest.mark.parametrize("deed", LOST)
def test_a_guest_that_is_lost_says_how_and_leaves_nothing(start: Start, deed: str) -> None:
    guest = start().open(deed=deed)
    folder = os.readlink(f"/proc/{guest.transport.pid}/cwd")
    code, cause = LOST[deed]
    with pytest.raises(GuestLost) as caught:
        guest.process(seconds=1 if code == "guest.timeout" else 60)
    (problem,) = caught.value.problems
    assert problem.code == code
    assert cause in (problem.cause or "")
    assert "`odd-plugin` was lost in `process`" in problem.message
    until(lambda: not group_of(guest.transport.pid))
    assert not Path(folder).exists()
    with pytest.raises(GuestLost):
        guest.process()


def test_a_memory_bomb_ends_the_guest_only(start: Start) -> None:
    guest = start(memory=256 << 20).open(deed="bomb")
    with pytest.raises(GuestLost) as caught:
        guest.process()
    assert caught.value.code == "guest.memory"
    assert "MemoryError" in (caught.value.problems[0].cause or "")


def test_the_last_words_of_a_guest_stand_in_its_error(start: Start, tmp_path: Path) -> None:
    (tmp_path / "wordy.py").write_text(
        "import os\nfrom dataflare import Batch, processor\n\n@processor\ndef talk(batch: Batch) -> Batch:\n"
        "    if len(batch):\n        print('first')\n        os.write(2, b'last words')\n        os._exit(9)\n"
        "    return batch\n"
    )
    guest = start("wordy", tmp_path).open("talk")
    with pytest.raises(GuestLost) as caught:
        guest.process()
    assert "first\nlast words" in (caught.value.problems[0].cause or "")


@pytest.mark.parametrize("deed", ["print", "write_1", "close_1", "flood", "long_line", "fork", "daemon"])
def test_a_guest_may_print_close_its_output_and_start_processes(start: Start, deed: str) -> None:
    guest = start().open(deed=deed)
    assert guest.process().equals(ROWS)


def test_what_a_guest_prints_is_told_in_the_log_of_its_step(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    guest = start().open(deed="print")
    guest.process()
    until(lambda: ("dataflare.step.odd", logging.INFO, "odd-plugin: printed") in caplog.record_tuples)


def test_a_flood_of_lines_is_told_in_part_and_counted(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    guest = start().open(deed="flood")
    guest.process()
    guest.transport.close()
    until(lambda: any("more lines were left out" in record.getMessage() for record in caplog.records))
    assert sum(record.getMessage().startswith("odd-plugin: x") for record in caplog.records) < 5_000


def test_a_long_line_is_cut(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    start().open(deed="long_line").process()
    until(lambda: any("yyy" in record.getMessage() for record in caplog.records))
    assert max(len(record.getMessage()) for record in caplog.records) < 5_000


@pytest.mark.parametrize("deed", ["fork", "daemon"])
def test_processes_that_a_guest_started_end_with_it(start: Start, deed: str) -> None:
    guest = start().open(deed=deed)
    guest.process()
    pid, mark = guest.transport.pid, mark_of(guest.transport.pid)
    until(lambda: len(marked(mark)) == 2)
    guest.transport.close()
    until(lambda: not marked(mark))
    assert not is_alive(pid)


HOST = """
import sys, time
sys.path[:0] = [{tests!r}]
from worker.processes import Guest
from dataflare_worker.process import Launch
from dataflare_worker.starts import Processes
from pathlib import Path
guest = Guest(Launch("odd-plugin", Path(sys.executable), ["hostile"], [Path({here!r})]))
guest.open(deed={first!r}).process()
print(guest.transport.pid, flush=True)
if {then!r}:
    from dataflare.guest import Frame
    guest.ask(Frame({{"op": "close", "instance": 1}}))
    guest.open(deed={then!r}).process()
time.sleep(1000)
"""


@contextmanager
def host_of_a_guest(first: str, then: str = "") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A host whose guest did one thing and does another; it is killed at the end. Gives the guest's number too."""
    code = HOST.format(tests=str(HERE.parent), here=str(HERE), first=first, then=then)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as host:
        try:
            assert host.stdout is not None
            yield host, int(host.stdout.readline())
        finally:
            host.kill()


@pytest.mark.parametrize(("first", "then"), [("fork", ""), ("daemon", ""), ("fork", "hold"), ("fork", "stubborn")])
def test_nothing_outlives_a_host_that_is_killed(first: str, then: str) -> None:
    with host_of_a_guest(first, then) as (_host, pid):
        mark, folder = mark_of(pid), os.readlink(f"/proc/{pid}/cwd")
        until(lambda: len(marked(mark)) >= 2)
    until(lambda: not marked(mark))
    until(lambda: not Path(folder).exists())


def test_nothing_outlives_a_host_that_is_killed_with_its_guard() -> None:
    with host_of_a_guest("print") as (host, pid):
        children = Path(f"/proc/{host.pid}/task").glob("*/children")
        (guard,) = {int(child) for file in children for child in file.read_text().split()} - {pid}
        os.kill(guard, signal.SIGKILL)
    until(lambda: not is_alive(pid))


def test_a_guard_that_was_killed_is_replaced(start: Start) -> None:
    guest = start().open(deed="daemon")
    guest.process()
    mark = mark_of(guest.transport.pid)
    from dataflare_worker.guarded import GUARD

    assert GUARD._process is not None
    GUARD._process.kill()
    GUARD._process.wait()
    guest.transport.close()
    until(lambda: not marked(mark))


def test_a_guest_sees_nothing_of_its_host(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "s3cret")
    guest = start(environment={"GIVEN": "1"}).open("surroundings")
    (told,) = guest.process().to_pylist()
    assert "A_SECRET" not in told["variables"]
    assert {"GIVEN", "HOME", "TMPDIR"} <= set(told["variables"])
    assert os.listdir(told["cwd"]) == []
    assert told["cwd"] not in told["path"]
    guest.transport.close()
    assert not Path(told["cwd"]).exists()


def test_closing_from_another_thread_cuts_a_call_off(start: Start) -> None:
    guest = start().open(deed="hang")
    errors: list[BaseException] = []

    def call() -> None:
        try:
            guest.process()
        except GuestLost as error:
            errors.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    until(lambda: guest.transport._turn.locked())
    guest.transport.close()
    calling.join(30)
    assert errors
    assert not is_alive(guest.transport.pid)


def test_time_that_the_host_takes_to_answer_is_not_the_guests(tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text(
        "from dataflare import Context, tool\n\n@tool\ndef ask(ctx: Context):\n    return ctx.secrets.get('x')\n"
    )
    transport = ProcessTransport(Launch("asking", Path(sys.executable), ["asking"], [tmp_path]))
    transport.call(Frame({"op": "describe"}), Answering(), 60)

    def slow(_frame: Frame) -> Frame:
        time.sleep(2.2)
        return Frame({"value": "v"})

    assert transport.call(Frame({"op": "call", "component": "tool:ask"}), slow, 2).header["output"] == "v"
    transport.close()


def test_a_fork_of_the_host_has_guests_of_its_own(tmp_path: Path) -> None:
    guests = Processes(lambda: Launch("odd-plugin", Path(sys.executable), ["hostile"], [HERE]))
    idle = guests.take()
    idle.call(Frame({"op": "describe"}), no_questions, 60)
    guests.give_back(idle)
    if (child := os.fork()) == 0:
        try:
            own = guests.take()
            own.call(Frame({"op": "describe"}), no_questions, 60)
            (tmp_path / "pid").write_text(str(own.pid))  # type: ignore[attr-defined]
            own.close()
            guests.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert int((tmp_path / "pid").read_text()) != idle.pid  # type: ignore[attr-defined]
    assert guests.take() is idle
    assert "components" in idle.call(Frame({"op": "describe"}), no_questions, 60).header
    idle.close()


def test_an_answer_that_is_too_large_ends_the_guest(start: Start) -> None:
    guest = start(output_ratio=0.5).open(deed="print")
    assert guest.process().equals(ROWS)
    with pytest.raises(GuestLost) as caught:
        guest.process(pa.record_batch({"n": pa.array(range(100_000))}))
    assert caught.value.code == "guest.output"


def test_code_that_cannot_be_imported_is_said_at_the_first_call(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    answer = start("broken", tmp_path).ask(Frame({"op": "describe"}))
    assert answer.header["error"]["code"] == "plugin.load_failed"
    assert "nothing_of_this_name" in answer.header["error"]["cause"]


def mark_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(word for word in words if word.startswith(b"DATAFLARE_GUEST=")).decode()


def marked(mark: str) -> set[int]:
    """The processes alive that were started by a guest, or are it."""
    found = set()
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and mark.encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.add(int(name))
        except OSError:
            continue
    return {pid for pid in found if is_alive(pid)}
