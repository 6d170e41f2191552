"""A folder of this user, with a key that only they can read: what was written here can be told from what was not."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Any

_KEY = 32


class SealedFolder:
    """A folder and its key, made where it is missing. Raises OSError where others may write there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid"):
            found = folder.stat()
            if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(f"others may write into {folder}")
        self.path = folder
        file = folder / "key"
        if not file.exists():
            self.write(file, secrets.token_bytes(_KEY), anew=True)
        self._key = file.read_bytes()
        if len(self._key) != _KEY:
            raise PermissionError(f"{file} is no key")

    def seal(self, *told: str) -> str:
        """What only the owner of the key can make of this."""
        return hmac.new(self._key, "\0".join(told).encode(), "sha256").hexdigest()

    def holds(self, seal: Any, *told: str) -> bool:
        """Was this seal made here, of this?"""
        return isinstance(seal, str) and hmac.compare_digest(seal.encode(), self.seal(*told).encode())

    def write(self, file: Path, content: bytes, anew: bool = False) -> None:
        """Write a file at once, for this user only. ``anew``: leave one that is there."""
        aside = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
                opened.write(content)
            if not anew:
                os.replace(aside, file)
            elif not file.exists():
                os.link(aside, file)
        except FileExistsError:
            pass
        finally:
            aside.unlink(missing_ok=True)


def digest_of(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def usual_folder() -> Path:
    """``$DATAFLARE_CACHE/wasm``, else in the user's cache folder."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dataflare")
    return Path(os.environ.get("DATAFLARE_CACHE") or usual) / "wasm"
