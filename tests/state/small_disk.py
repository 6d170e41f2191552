"""A disk that is soon full: a small tmpfs where mounting is allowed, else a bound on the size of files."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(size: int, *, may_mount: bool = True) -> Iterator[Path]:
    """A folder that takes no more than so many bytes (or, where nothing can be mounted, no file of more)."""
    with tempfile.TemporaryDirectory(prefix="dfdisk-", dir="/tmp") as name:
        folder = Path(name)
        words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", name]
        tried = may_mount and shutil.which("mount")
        mounted = bool(tried) and subprocess.run(words, capture_output=True, check=False).returncode == 0
        try:
            with _nothing() if mounted else _bound(size):
                yield folder
        finally:
            if mounted:
                subprocess.run(["umount", "-l", name], check=True)


@contextmanager
def _bound(size: int) -> Iterator[None]:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
