"""Inputs of this machine: serial lines, files that grow, pipes with a name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dataflare_broker.inputs.origin import Origin
from dataflare_broker.inputs.reading import PIECE, Backoff, Reading

LOOK = 0.2
"""Seconds between two looks at a file that has nothing new."""


class Tty(Reading):
    """A serial line, raw; a device that was unplugged is opened again when it is back."""

    def ready(self) -> None:
        """Open and set the line."""
        self._held = _line(self.origin)

    def run(self) -> None:
        """Read, also after the device was gone."""
        backoff = Backoff()
        while self._read():
            os.close(self._held)
            self._held = -1
            while self._held < 0:
                self.tell(f"{self.origin.path} is gone; opening it again")
                if not self.pause(backoff.next()):
                    return
                try:
                    self._held = _line(self.origin)
                    backoff.reset()
                except OSError:
                    continue

    def release(self) -> None:
        """Close the device."""
        if self._held >= 0:
            os.close(self._held)

    def _read(self) -> bool:
        """Until the device is gone. False: it is closed."""
        while self.readable([self._held]):
            try:
                given = os.read(self._held, PIECE)
            except BlockingIOError:
                continue
            except OSError:
                return True
            if not given:
                return True
            if not self.put(given):
                return False
        return False


class File(Reading):
    """A file, followed as it grows, is truncated or replaced; or a pipe with a name."""

    def ready(self) -> None:
        """Open it, at the end or the beginning."""
        self._pipe = stat.S_ISFIFO(os.stat(self.origin.path).st_mode)
        self._follow = self.origin.options["follow"] == "yes"
        # Open for writing too, a pipe does not end with its writer.
        how = os.O_RDWR if self._pipe and self._follow else os.O_RDONLY
        self._held = os.open(self.origin.path, how | os.O_NONBLOCK | os.O_CLOEXEC)
        if not self._pipe and self._follow and self.origin.options["from"] == "end":
            os.lseek(self._held, 0, os.SEEK_END)

    def run(self) -> None:
        """Read what is there and what comes."""
        came = False
        while not self.closing:
            try:
                given = os.read(self._held, PIECE)
            except BlockingIOError:
                given = b""
                if self._pipe and self._follow:
                    self.readable([self._held])
                    continue
            if given:
                came = True
                if not self.put(given):
                    return
                continue
            if not self._follow and (came or not self._pipe):
                return
            if not self._pipe and self._replaced():
                continue
            if not self.pause(LOOK):
                return

    def release(self) -> None:
        """Close it."""
        os.close(self._held)

    def _replaced(self) -> bool:
        """At the end of what is open: begin anew where the file was truncated, or another has its name."""
        held = os.fstat(self._held)
        if held.st_size < os.lseek(self._held, 0, os.SEEK_CUR):
            os.lseek(self._held, 0, os.SEEK_SET)
            return True
        if _identity(self.origin.path) in (None, (held.st_dev, held.st_ino)):
            return False
        try:
            other = os.open(self.origin.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        os.close(self._held)
        self._held = other
        return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _line(origin: Origin) -> int:
    """An open serial line, raw, with its speed. Raises OSError."""
    import termios
    import tty

    held = os.open(origin.path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        tty.setraw(held)
        speed = getattr(termios, f"B{origin.options['baud']}", None)
        if speed is None:
            raise OSError(f"{origin.options['baud']} baud is no speed of a serial line")
        set_to = termios.tcgetattr(held)
        set_to[4] = set_to[5] = speed
        termios.tcsetattr(held, termios.TCSANOW, set_to)
    except (termios.error, OSError) as error:
        os.close(held)
        raise error if isinstance(error, OSError) else OSError(str(error)) from error
    return held
