"""Keyrings: AES-256 keys by id from a file, from the environment, or from a command.

Where keys come as text, a line is ``id: key``, the key as base64; the last one is the newest, which wraps new data
keys. Older lines stay as long as anything needs them.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import subprocess
import threading
from pathlib import Path

from dataflare import Duration, field
from dataflare.component import Keyring
from dataflare.context import Context
from dataflare.errors import StateError

SIZE = 32


class _Keys(Keyring):
    """A keyring that has its keys at hand; the last one is the newest. Keys are wrapped by RFC 3394."""

    _base: Path
    _found: dict[str, bytes]
    _guard: threading.Lock

    def open(self, ctx: Context) -> None:
        """Read the keys. Raises StateError ``state.keyring``."""
        self._base, self._guard = ctx.base, threading.Lock()
        self._found = self.read()

    def read(self) -> dict[str, bytes]:
        """The keys by id, the newest last. Raises StateError ``state.keyring``."""
        raise NotImplementedError

    def current(self) -> str:
        """The newest key, one that came after the keyring was opened included."""
        with self._guard:
            self._found = self.read()
            return next(reversed(self._found))

    def wrap(self, key_id: str, data_key: bytes) -> bytes:
        """A data key, encrypted."""
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        return aes_key_wrap(self._key(key_id), data_key)

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        """The data key again. Raises StateError ``state.key_missing``, ``state.key_wrong``."""
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

        try:
            return aes_key_unwrap(self._key(key_id), wrapped)
        except (InvalidUnwrap, ValueError) as error:
            raise StateError.of(
                "state.key_wrong",
                f"the key `{key_id}` of {self.told()} is not the one that the state was encrypted with",
                cause="the data key does not unwrap",
                fix="bring back the keyring that the flow ran with",
                details={"key": key_id},
            ) from error

    def told(self) -> str:
        """What it is, in messages."""
        return f"the keyring `{self.spec.name}`"

    def _key(self, key_id: str) -> bytes:
        with self._guard:
            if key_id not in self._found:
                self._found = self.read()
            if key_id not in self._found:
                raise StateError.of(
                    "state.key_missing",
                    f"the key `{key_id}` is not in {self.told()}",
                    cause=f"it has {', '.join(f'`{name}`' for name in self._found)}",
                    fix="put the key back: content that was encrypted with it cannot be read without it",
                    details={"key": key_id},
                )
            return self._found[key_id]

    def refused(self, cause: str, fix: str, key: str | None = None) -> StateError:
        """The keyring cannot be used."""
        about = f"the key `{key}` of {self.told()}" if key else self.told()
        details = {"key": key} if key else {}
        return StateError.of("state.keyring", f"{about} cannot be used", cause=cause, fix=fix, details=details)

    def parsed(self, text: str) -> dict[str, bytes]:
        """The keys of lines ``id: key``."""
        found: dict[str, bytes] = {}
        lines = (line.strip() for line in text.splitlines())
        for line in (line for line in lines if line and not line.startswith("#")):
            name, colon, key = line.partition(":")
            if not colon or not name.strip() or name.strip() in found:
                fix = "write each key once, as a line `id: base64`"
                raise self.refused("a line is not `id: key`, or an id stands there twice", fix)
            found[name.strip()] = self.decoded(name.strip(), key.strip())
        if not found:
            raise self.refused("it has no key", "make one with `dataflare keyring new PATH`")
        return found

    def decoded(self, name: str, text: str) -> bytes:
        """A key of the right length. Raises StateError."""
        fix = "a key is 32 random bytes as base64, such as `openssl rand -base64 32` gives"
        if len(name.encode()) > 255:
            raise self.refused("its id is longer than 255 bytes", "give it a shorter id", name[:40])
        try:
            key = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self.refused("it is not base64", fix, name) from None
        if len(key) != SIZE:
            raise self.refused(f"it has {len(key)} bytes, an AES-256 key has {SIZE}", fix, name)
        return key


class KeyringFile(_Keys, name="keyring-file"):
    """Keys in a file that only its owner may read; `dataflare keyring new PATH` makes it and adds keys."""

    path: str = field(help="The file, with lines `id: base64`; relative to the folder of the flow.")

    def read(self) -> dict[str, bytes]:
        """The keys of the file."""
        path = self._base / self.path
        try:
            with path.open() as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if mode & 0o077:
                    raise self.refused(f"others may read it (mode {mode:04o})", f"chmod 600 {path}")
                return self.parsed(file.read())
        except (OSError, UnicodeDecodeError) as error:
            cause = (error.strerror if isinstance(error, OSError) else None) or "it is not text"
            raise self.refused(cause, f"bring it back, or make one with `dataflare keyring new {path}`") from error

    def told(self) -> str:
        """The file."""
        return f"the keyring {self._base / self.path}"


class KeyringEnv(_Keys, name="keyring-env"):
    """Keys in environment variables; the name of the variable is the id of the key."""

    variables: tuple[str, ...] = field(min_length=1, help="Variables with keys as base64; the last one is the newest.")

    def read(self) -> dict[str, bytes]:
        """The keys of the variables that are set."""
        found = {name: self.decoded(name, os.environ[name]) for name in self.variables if os.environ.get(name)}
        if self.variables[-1] not in found:
            raise self.refused("the variable is not set", "set it to 32 random bytes as base64", self.variables[-1])
        return found


class KeyringCommand(_Keys, name="keyring-command"):
    """Keys that a command prints: lines `id: base64`, the newest last."""

    command: tuple[str, ...] = field(min_length=1, help="The program and its arguments; no shell is involved.")
    timeout: Duration = field(default=10.0, help="How long the command may take.")

    def read(self) -> dict[str, bytes]:
        """The keys that the command prints."""
        fix = "run the command by hand and mend it"
        try:
            ran = subprocess.run(
                self.command, cwd=self._base, capture_output=True, text=True, timeout=self.timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise self.refused(f"`{self.command[0]}` took longer than {self.timeout:g} s", fix) from None
        except (OSError, UnicodeDecodeError) as error:
            raise self.refused(f"`{self.command[0]}`: {error}", fix) from error
        if ran.returncode:
            raise self.refused(f"`{self.command[0]}` ended with {ran.returncode}: {ran.stderr.strip()[-200:]}", fix)
        return self.parsed(ran.stdout)
