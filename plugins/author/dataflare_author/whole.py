"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write(file: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file whole or not at all, also through a loss of power. ``mode``: who may do what. Raises OSError."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        aside.unlink(missing_ok=True)
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)
