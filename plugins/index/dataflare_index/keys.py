"""The signing keys of an index: beside its folder, never in it; the root's two signatures out of three."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer._crypto_signer import CryptoSigner

from dataflare.errors import ConfigError

ROOTS = ("root-1", "root-2", "root-3")
THRESHOLD = 2
NEXT = "next"
"""The folder of keys that no root names yet."""
ONLINE = ("targets", "bins", "snapshot", "timestamp")


def folder_of(index: Path) -> Path:
    """Where the keys of an index are."""
    return index.with_name(f"{index.name}.keys")


def make_keys(index: Path) -> dict[str, CryptoSigner]:
    """New Ed25519 keys for all roles, readable by their owner only. Raises ConfigError ``index.keys_exist``."""
    folder = folder_of(index)
    if folder.exists():
        message = f"{folder} is there already"
        raise ConfigError.of("index.keys_exist", message, fix="move it away, or begin the index under another name")
    folder.mkdir(mode=0o700, parents=True)
    return {name: write_key(folder, name) for name in (*ROOTS, *ONLINE)}


def write_key(folder: Path, name: str) -> CryptoSigner:
    """A new key, written to a file of its own; an older one of that name is kept beside it."""
    file = folder / f"{name}.pem"
    if file.exists():
        file.rename(file.with_suffix(".old.pem"))
    signer = CryptoSigner.generate_ed25519()
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(signer.private_bytes)
    return signer


def read_key(index: Path, name: str) -> CryptoSigner:
    """A key of an index. Raises ConfigError ``index.key``."""
    file = folder_of(index) / f"{name}.pem"
    try:
        return CryptoSigner(load_pem_private_key(file.read_bytes(), None))  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError) as error:
        message = f"the key `{name}` of the index cannot be read"
        fix = "bring the folder of keys to where it belongs, beside the index; for the root only its holders can sign"
        raise ConfigError.of("index.key", message, file=str(file), cause=str(error), fix=fix) from error
