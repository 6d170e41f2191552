"""Ends what a host leaves behind: runs beside it as a process of its own, and outlives it by a moment.

It is told on standard input of each guest that was started (``+ GROUP MARK FOLDER``) and that ended (``- …``). At the
end of that input, or of the host, it kills every process of every group that is left and removes the folders. A process
that left its group is found by the mark in its environment. Needs nothing but the standard library, without ``site``.
"""

import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress

MARK = b"DATAFLARE_GUEST="


def main() -> None:
    """Follow what is told until the host has gone, then end what is left."""
    left: dict[bytes, tuple[int, str]] = {}
    polled = select.poll()
    polled.register(0, select.POLLIN)
    if hasattr(os, "pidfd_open"):
        try:
            polled.register(os.pidfd_open(int(sys.argv[1])), select.POLLIN)
        except OSError:
            return
    told = b""
    while True:
        ready = dict(polled.poll())
        more = os.read(0, 65536) if 0 in ready else b""
        *lines, told = (told + more).split(b"\n")
        for line in lines:
            what, group, mark, folder = line.split(b" ", 3)
            if what == b"+":
                left[mark] = (int(group), os.fsdecode(folder))
            else:
                end({mark: left.pop(mark, (0, os.fsdecode(folder)))})
        if not more:
            break
    end(left)


def end(left: dict[bytes, tuple[int, str]]) -> None:
    """Kill the processes of these groups and with these marks, and remove the folders."""
    for group, _ in left.values():
        if group:
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)
    quiet = 0
    while quiet < 2:  # a process that is just being replaced by another program has no environment for a moment
        found = strays(set(left))
        quiet = 0 if found else quiet + 1
        for process in found:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
    for _, folder in left.values():
        shutil.rmtree(folder, ignore_errors=True)


def strays(marks: set[bytes]) -> list[int]:
    """The living processes with one of these marks in their environment."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    own = next((word for word in file.read().split(b"\0") if word.startswith(MARK)), b"")
            except OSError:
                continue
            if own.removeprefix(MARK) in marks:
                found.append(int(name))
    return found


if __name__ == "__main__":
    main()
