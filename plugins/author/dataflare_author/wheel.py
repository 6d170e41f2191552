"""Writes wheels: the same bytes for the same files, whenever and wherever they are built."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from dataflare_author.names import Names

_WHEEL = "Wheel-Version: 1.0\nGenerator: dataflare plugin build\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DATE = (1980, 1, 1, 0, 0, 0)
"""The first that a zip file can tell."""


def write_wheel(target: Path, names: Names, version: str, metadata: str, files: Mapping[str, bytes]) -> None:
    """Write a wheel of ``files`` (path → content); it appears whole or not at all."""
    info = f"{names.package}-{version}.dist-info"
    entry_points = f"[dataflare.plugins]\n{names.id} = {names.package}\n"
    told = {"METADATA": metadata, "WHEEL": _WHEEL, "entry_points.txt": entry_points}
    content = {path: files[path] for path in sorted(files)}
    content |= {f"{info}/{name}": text.encode() for name, text in told.items()}
    record = f"{info}/RECORD"
    lines = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in content.items()]
    content[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path, data in content.items():
                entry = zipfile.ZipInfo(path, _DATE)
                entry.external_attr = 0o100644 << 16
                entry.create_system = 3
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def metadata_of(names: Names, version: str, summary: str, license: str, **more: Iterable[str] | str) -> str:
    """The text of METADATA. ``more``: further headers, by name with ``_`` for ``-``; lists are repeated."""
    lines = ["Metadata-Version: 2.4", f"Name: {names.distribution}", f"Version: {version}"]
    lines += [f"Summary: {' '.join(summary.split())}"] if summary else []
    lines += [f"License-Expression: {license}"] if license else []
    for name, given in more.items():
        values = [given] if isinstance(given, str) else given
        lines += [f"{name.replace('_', '-')}: {value}" for value in values]
    return "\n".join([*lines, ""])


def files_below(root: Path, prefix: str) -> dict[str, bytes]:
    """The files of a folder, by their path in the wheel."""
    found = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{prefix}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in found}


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
