"""A plugin that misbehaves as it is told, in the operations of a processor."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time

from dataflare import Batch, processor

KEPT = []


def pipes_to_the_host():
    """The descriptors on which answers leave this process."""
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if number > 2 and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
                yield number
        except OSError:
            pass


def sleep_for_ever(*_):
    while True:
        time.sleep(1)


def child(ignoring=False):
    """The number of a process that was forked and stays."""
    made = os.fork()
    if made == 0:
        if ignoring:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sleep_for_ever()
    return made


def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child(ignoring=True)
    sleep_for_ever()


def hold_the_interpreter():
    ctypes.PyDLL(None).sleep(1000)


def half_a_frame():
    for pipe in pipes_to_the_host():
        os.write(pipe, b'\x40\x00\x00\x00{"outputs"')
    os.kill(os.getpid(), signal.SIGKILL)


def garbage():
    for pipe in pipes_to_the_host():
        os.write(pipe, b"\xff\xff\xff\xffnonsense")
    sleep_for_ever()


def close_the_pipe():
    for pipe in list(pipes_to_the_host()):
        os.close(pipe)
    sleep_for_ever()


def exit_after_forking():
    child()
    os._exit(7)


def memory_bomb():
    blocks = []
    while True:
        blocks.append(bytearray(16 << 20))


DEEDS = {
    "hang": sleep_for_ever,
    "stubborn": stubborn,
    "hold": hold_the_interpreter,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segv": lambda: ctypes.string_at(0),
    "exit": lambda: sys.exit(3),
    "os_exit": lambda: os._exit(4),
    "half": half_a_frame,
    "garbage": garbage,
    "close_pipe": close_the_pipe,
    "exit_after_forking": exit_after_forking,
    "bomb": memory_bomb,
    "fork": child,
    "daemon": lambda: subprocess.Popen(["sleep", "1000"], start_new_session=True),
    "print": lambda: print("printed"),
    "write_1": lambda: os.write(1, b"written\n"),
    "close_1": lambda: (os.close(1), sys.stdout.close()),
    "flood": lambda: [print("x" * 100) for _ in range(20_000)],
    "long_line": lambda: os.write(2, b"y" * 1_000_000 + b"\n"),
    "leak": lambda: KEPT.append(bytearray(os.urandom(1 << 20) * 64)),
}


@processor
def misbehave(batch: Batch, *, deed: str, once: str = "") -> Batch:
    """Does what it is told, then gives the rows on; with ``once`` (a file) only where that is not there yet."""
    if not len(batch):
        return batch  # this is how its schema is found out
    if once:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return batch
    DEEDS[deed]()
    return batch


@processor
def surroundings(batch: Batch) -> Batch:
    """What a plugin sees of its process."""
    told = {"cwd": os.getcwd(), "variables": sorted(os.environ), "path": sys.path, "pid": os.getpid()}
    return Batch.of([told | {"n": 1}])
