"""What of WASI a guest is given: clocks, randomness, two streams to the log, and nothing else."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dataflare_wasm.memory import OutOfMemory

if TYPE_CHECKING:
    import wasmtime

    from dataflare_wasm.sandbox import Sandbox

MODULE = "wasi_snapshot_preview1"
SOCKETS = frozenset(("sock_accept", "sock_recv", "sock_send", "sock_shutdown"))
GIVEN = frozenset(
    "args_get args_sizes_get environ_get environ_sizes_get clock_res_get clock_time_get random_get sched_yield "
    "proc_exit poll_oneoff fd_advise fd_allocate fd_close fd_datasync fd_fdstat_get fd_fdstat_set_flags "
    "fd_fdstat_set_rights fd_filestat_get fd_filestat_set_size fd_filestat_set_times fd_pread fd_prestat_dir_name "
    "fd_prestat_get fd_pwrite fd_read fd_readdir fd_renumber fd_seek fd_sync fd_tell fd_write path_create_directory "
    "path_filestat_get path_filestat_set_times path_link path_open path_readlink path_remove_directory path_rename "
    "path_symlink path_unlink_file".split()
)
"""Every language's runtime imports these, files included. No folder is opened to a guest, so there is none to find."""
_STREAMS = {1: "info", 2: "warning"}
"""File descriptors that may be written to → the level of their lines."""
_EVENT = struct.Struct("<QHBxxxxxQHxxxxxx")
_SUBSCRIPTION = 48
_MOST = 1024
_PRINTED = 64 << 10
"""Bytes that one call may print: a guest with more has to call again, so its deadline is seen."""
_FINE, _NO_FILE, _INTERRUPTED, _INVALID = 0, 8, 27, 28


def define(linker: wasmtime.Linker, sandbox: Sandbox) -> None:
    """Give a sandbox WASI: a sleep ends with the call's deadline, what is printed goes to the journal.

    Printing does not go through wasmtime's own streams: it writes them from threads of its own, which a Python that
    ends stops in the middle.
    """
    from wasmtime import FuncType, ValType

    def guarded(name: str, work: Callable[[Sandbox, int, int, int, int], int]) -> None:
        def called(*given: int) -> int:
            try:
                return work(sandbox, *given)
            except OutOfMemory as error:
                sandbox.stop("guest.trap", f"in {name}: {error}")
                return _INVALID

        linker.define_func(MODULE, name, FuncType([ValType.i32()] * 4, [ValType.i32()]), called)

    linker.define_wasi()
    linker.allow_shadowing = True
    guarded("poll_oneoff", _poll)
    guarded("fd_write", _write)


def configuration() -> wasmtime.WasiConfig:
    """No arguments, no environment, no folders, no input."""
    from wasmtime import WasiConfig

    made = WasiConfig()
    made.argv, made.env = [], []
    return made


def _write(sandbox: Sandbox, file: int, pieces: int, count: int, written: int) -> int:
    if file not in _STREAMS:
        return _NO_FILE
    if not 0 <= count <= _MOST:
        return _INVALID
    memory, size = sandbox.memory, 0
    for at, length in struct.iter_unpack("<II", memory.read(pieces, count * 8)):
        taken = min(length, _PRINTED - size)
        sandbox.journal.take(_STREAMS[file], memory.read(at, taken))
        size += taken
    memory.write(written, [struct.pack("<I", size)])
    return _FINE


def _poll(sandbox: Sandbox, subscriptions: int, events: int, count: int, stored: int) -> int:
    """Clocks run out in order of their times; files are ready at once, as the real ones here always are."""
    memory = sandbox.memory
    if not 0 < count <= _MOST:
        return _INVALID
    given = memory.read(subscriptions, count * _SUBSCRIPTION)
    due: list[tuple[float, int, int]] = []
    for start in range(0, len(given), _SUBSCRIPTION):
        userdata, kind = struct.unpack_from("<QB", given, start)
        due.append((_seconds(given, start) if kind == 0 else 0.0, userdata, kind))
    first = max(0.0, min(seconds for seconds, _, _ in due))
    if not sandbox.rest(first):
        return _INTERRUPTED
    ready = [_EVENT.pack(userdata, 0, kind, 0, 0) for seconds, userdata, kind in due if seconds <= first]
    memory.write(events, ready)
    memory.write(stored, [struct.pack("<I", len(ready))])
    return _FINE


def _seconds(given: bytes, start: int) -> float:
    """Until a clock runs out."""
    clock, timeout, _precision, flags = struct.unpack_from("<I4xQQH", given, start + 16)
    if not flags & 1:
        return float(timeout) / 1e9
    now = time.time_ns() if clock == 0 else time.monotonic_ns()
    return (int(timeout) - now) / 1e9
