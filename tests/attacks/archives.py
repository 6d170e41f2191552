"""Wheels that are made to do harm: a sound one, changed byte by byte where no tool would."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from wheel_files import pack, sealed, unpacked

LARGE = 80 << 20
"""Bytes of a bomb: more than any wheel may have that is packed so densely."""
FLAGS, PACKED, SIZE = (6, 8), (18, 20), (22, 24)
"""Where a word stands: in the head of a file, in its entry of the directory."""
ENTRY = b"PK\1\2"


def bomb(path: Path) -> None:
    """A few kilobytes that become very many."""
    _append(path, "evil.bin", b"\0" * LARGE)


def lying_bomb(path: Path) -> None:
    """The same, and it says that it is small."""
    bomb(path)
    _overwrite(path, "evil.bin", SIZE, struct.pack("<L", 100))


def overlapping(path: Path) -> None:
    """Two files with the same bytes: with many, as good as a bomb."""
    _append(path, "evil.bin", b"a" * 100)
    _append(path, "evil.two", b"b" * 100)
    raw = bytearray(path.read_bytes())
    one, two = _entry_of(raw, "evil.bin"), _entry_of(raw, "evil.two")
    raw[two + 42 : two + 46] = raw[one + 42 : one + 46]
    path.write_bytes(raw)


def hidden(path: Path) -> None:
    """A file that only readers see who go from file to file."""
    raw = path.read_bytes()
    start = struct.unpack_from("<L", raw, len(raw) - 6)[0]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("evil.py", "x")
    inside = made.getvalue()[: made.getvalue().index(ENTRY)]
    path.write_bytes(raw[:start] + inside + raw[start:-6] + struct.pack("<LH", start + len(inside), 0))


def polyglot(path: Path) -> None:
    """Something else from its first byte on."""
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())


def two_archives(path: Path) -> None:
    """One archive behind another."""
    path.write_bytes(path.read_bytes() + path.read_bytes())


def two_names(path: Path) -> None:
    """One name in the directory, another one before the file."""
    _append(path, "evil.one", b"x")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"evil.one")
    raw[at : at + 8] = b"evil.two"
    path.write_bytes(raw)


def two_lengths(path: Path) -> None:
    """One length in the directory, another one before the file."""
    _append(path, "evil.bin", b"x" * 10_000)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"evil.bin") - 30 + SIZE[0]
    raw[at : at + 4] = struct.pack("<L", 7)
    path.write_bytes(raw)


def cut_name(path: Path) -> None:
    """A name that some readers cut at a zero byte."""
    _append(path, "evil.py_.txt", b"x")
    path.write_bytes(path.read_bytes().replace(b"evil.py_.txt", b"evil.py\0.txt"))


def early_end(path: Path) -> None:
    """More behind the end of what is packed."""
    _append(path, "evil.bin", b"x" * 1000 + bytes(range(256)))
    raw = bytearray(path.read_bytes())
    at, entry = raw.index(b"evil.bin") - 30, _entry_of(raw, "evil.bin")
    length = struct.unpack_from("<L", raw, entry + PACKED[1])[0]
    end = at + 30 + len("evil.bin") + length
    raw[end:end] = b"more"
    entry += 4
    raw[entry + PACKED[1] : entry + PACKED[1] + 4] = struct.pack("<L", length + 4)
    raw[at + PACKED[0] : at + PACKED[0] + 4] = struct.pack("<L", length + 4)
    raw[-6:-2] = struct.pack("<L", struct.unpack_from("<L", raw, len(raw) - 6)[0] + 4)
    path.write_bytes(raw)


def link(path: Path) -> None:
    """A symbolic link out of the folder."""
    _append(path, "evil", b"/etc/passwd", 0o120777)


def device(path: Path) -> None:
    """A named pipe."""
    _append(path, "evil", b"", 0o010644)


def _named(*names: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        pack(path, sealed({**unpacked(path), **{name.replace("PACKAGE", _package(path)): b"x" for name in names}}))

    return change


def _twice(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        _append(path, f"{_package(path)}/dataflare.toml", b"# another\n")


HOSTILE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a bomb": ("zip_bomb", bomb),
    "a bomb that lies": ("zip_bomb", lying_bomb),
    "overlapping files": ("zip_bomb", overlapping),
    "a way out": ("path_traversal", _named("PACKAGE/../../evil.py")),
    "an absolute name": ("path_traversal", _named("/evil.py")),
    "a drive": ("path_traversal", _named("PACKAGE/c:evil.py")),
    "backslashes": ("path_traversal", _named("PACKAGE\\..\\..\\evil.py")),
    "a dot": ("path_traversal", _named("PACKAGE/./evil.py")),
    "a device of Windows": ("path_traversal", _named("PACKAGE/NUL.txt")),
    "a name that Windows shortens": ("path_traversal", _named("PACKAGE/evil.py.")),
    "a name with a line break": ("path_traversal", _named("PACKAGE/evil\n.py")),
    "a name for no disk": ("path_traversal", _named("PACKAGE/" + "e" * 250)),
    "a name that is cut": ("path_traversal", cut_name),
    "a link": ("link", link),
    "a pipe": ("link", device),
    "one name twice": ("ambiguous_archive", _twice),
    "names that are one on some disks": ("ambiguous_archive", _named("PACKAGE/evil.py", "PACKAGE/EVIL.py")),
    "a file that is a folder": ("ambiguous_archive", _named("PACKAGE/evil", "PACKAGE/evil/more.py")),
    "a hidden file": ("ambiguous_archive", hidden),
    "something before it": ("ambiguous_archive", polyglot),
    "two archives": ("ambiguous_archive", two_archives),
    "two names": ("ambiguous_archive", two_names),
    "two lengths": ("ambiguous_archive", two_lengths),
    "an early end": ("ambiguous_archive", early_end),
}
"""What it is → the attack that is named, and how a sound wheel becomes it."""


def _package(path: Path) -> str:
    return path.name.partition("-")[0]


def _append(path: Path, name: str, content: bytes, mode: int = 0o100644) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, content, zipfile.ZIP_DEFLATED)


def _entry_of(raw: bytes | bytearray, name: str) -> int:
    """Where the entry of a file in the directory begins."""
    return raw.rindex(name.encode()) - 46


def _overwrite(path: Path, name: str, place: tuple[int, int], value: bytes) -> None:
    """Change a word in both places where a file has it."""
    raw = bytearray(path.read_bytes())
    for at in (raw.index(name.encode()) - 30 + place[0], _entry_of(raw, name) + place[1]):
        raw[at : at + len(value)] = value
    path.write_bytes(raw)
