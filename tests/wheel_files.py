"""Wheels for tests: of any files, with the RECORD that fits them."""

from __future__ import annotations

import hashlib
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

Files = dict[str, bytes]


def digest(data: bytes) -> str:
    """As RECORD says it."""
    return f"sha256={urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()}"


def sealed(files: Mapping[str, bytes]) -> Files:
    """The files of a wheel with a RECORD of them, in place of the one that they had."""
    (info,) = {name.partition("/")[0] for name in files if ".dist-info/" in name.partition("/")[0] + "/"}
    record = f"{info}/RECORD"
    held = {name: data for name, data in files.items() if name != record}
    lines = [f"{name},{digest(data)},{len(data)}" for name, data in held.items()]
    return {**held, record: "\n".join([*lines, f"{record},,", ""]).encode()}


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write these files, and nothing else, as a wheel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def unpacked(path: Path) -> Files:
    """The files of a wheel."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
