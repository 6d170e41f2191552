"""Reads zip files that others made: nothing that they say of themselves is believed before it was counted.

Readers go by the directory at a file's end, or from entry to entry; only a file in which both find the same is read.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO

SMALL, DENSEST = 64 << 20, 100
"""No archive unpacks to more than so many bytes, and to more than so many times its own size."""
LONGEST = 200
"""Bytes of one name of a path."""
_END, _HEAD = struct.Struct("<4s4H2LH"), struct.Struct("<4s5H3L2H")
_UTF8, _DESCRIBED, _ENCRYPTED = 0x800, 0x8, 0x1
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_ODD = re.compile(r'[\\:*?"<>|]')
_BROKEN = (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, struct.error, zlib.error)


class Broken(ValueError):
    """What cannot be read as a zip file, or is too large."""


class Hostile(Broken):
    """What nobody builds by mistake. ``attack``: zip_bomb | path_traversal | link | ambiguous_archive."""

    def __init__(self, cause: str, attack: str) -> None:
        super().__init__(cause)
        self.attack = attack


class Archive:
    """The files of a zip file: at most ``most``, and ``largest`` bytes together. Raises Broken, Hostile."""

    def __init__(self, file: BinaryIO, *, most: int, largest: int) -> None:
        self._file = file
        try:
            directory = self._directory(most)
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
            self._starts = self._in_line(entries, directory)
        except Broken:
            raise
        except _BROKEN as error:
            raise Broken(str(error)) from error
        self._entries = _named(entries)
        size, packed = sum(entry.file_size for entry in entries), directory
        if len(entries) > most or size > largest:
            raise Broken(f"it has more than {most:,} files or {largest:,} bytes")
        if size > max(SMALL, DENSEST * packed):
            raise Hostile(f"{packed:,} bytes become {size:,}", "zip_bomb")

    def names(self) -> list[str]:
        """The files, in the archive's order."""
        return list(self._entries)

    def size(self, name: str) -> int:
        """The bytes of a file."""
        return self._entries[name].file_size

    def read(self, name: str) -> bytes:
        """The content of a file; never more of it than the archive says. Raises Broken, Hostile, KeyError."""
        entry = self._entries[name]
        try:
            self._file.seek(self._starts[entry.header_offset])
            content = packed = self._file.read(entry.compress_size)
            if entry.compress_type == zipfile.ZIP_DEFLATED:
                inflating = zlib.decompressobj(-zlib.MAX_WBITS)
                content = inflating.decompress(packed, entry.file_size + 1)
                if len(content) > entry.file_size:
                    raise Hostile(f"`{name}` is longer than the {entry.file_size:,} bytes that are told", "zip_bomb")
                if not inflating.eof or inflating.unused_data:
                    raise Hostile(f"`{name}` ends somewhere else than is told", "ambiguous_archive")
        except _BROKEN as error:
            raise error if isinstance(error, Broken) else Broken(f"`{name}`: {error}") from error
        if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
            raise Broken(f"`{name}` is damaged")
        return content

    def _directory(self, most: int) -> int:
        """Where the directory begins: it and its end record are the last of the file, and nothing follows."""
        length = self._file.seek(0, 2)
        if length < _END.size:
            raise Broken("it is no zip file")
        self._file.seek(length - _END.size)
        mark, disk, first, here, all, size, start, comment = _END.unpack(self._file.read(_END.size))
        if mark != b"PK\5\6" or (disk, first, comment) != (0, 0, 0):
            raise Broken("it is no zip file, or something follows its end")
        if here != all or all > most or size > most * (LONGEST + 100):
            raise Broken(f"it has more than {most:,} files")
        self._file.seek(max(0, length - _END.size - 20))
        if start + size + _END.size != length or self._file.read(4) == b"PK\6\7":
            raise Hostile("it is not one zip file from its first byte to its last", "ambiguous_archive")
        return int(start)

    def _in_line(self, entries: list[zipfile.ZipInfo], directory: int) -> dict[int, int]:
        """Where the content of each entry begins; entries lie one after another, and say what the directory says."""
        starts: dict[int, int] = {}
        place = 0
        for entry in sorted(entries, key=lambda each: each.header_offset):
            if entry.header_offset < place:
                raise Hostile(f"`{entry.filename}` overlaps another file", "zip_bomb")
            self._file.seek(entry.header_offset)
            head = self._file.read(_HEAD.size)
            mark, _, flags, method, _, _, crc, packed, size, name, extra = _HEAD.unpack(head)
            told = self._file.read(name).decode("utf-8" if flags & _UTF8 else "cp437")
            if flags & _ENCRYPTED or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Broken(f"`{entry.filename}` is encrypted, or packed in another way than deflate")
            later = bool(flags & _DESCRIBED)
            wanted = (entry.CRC, entry.compress_size, entry.file_size)
            if (
                entry.header_offset != place
                or mark != b"PK\3\4"
                or (told, flags, method) != (entry.orig_filename, entry.flag_bits, entry.compress_type)
                or ((crc, packed, size) != wanted and not (later and (crc, packed, size) == (0, 0, 0)))
                or (later and method == zipfile.ZIP_STORED)
                or (method == zipfile.ZIP_STORED and entry.compress_size != entry.file_size)
            ):
                raise Hostile(f"`{entry.filename}` is another file to other readers", "ambiguous_archive")
            starts[place] = place + _HEAD.size + name + extra
            place = starts[place] + entry.compress_size
            place += self._descriptor(place, wanted) if later else 0
        if place != directory:
            raise Hostile("something is hidden between its files and its directory", "ambiguous_archive")
        return starts

    def _descriptor(self, place: int, wanted: tuple[int, int, int]) -> int:
        """The length of what says, behind a file, how long it was."""
        self._file.seek(place)
        found, said = self._file.read(16), struct.pack("<3L", *wanted)
        if found == b"PK\7\10" + said:
            return 16
        if found[:12] == said:
            return 12
        raise Hostile("behind a file stands another length than in the directory", "ambiguous_archive")


def _named(entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The files by name: each is a plain file with a plain name below the archive, on every system another one."""
    files: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename.removesuffix("/")
        if entry.orig_filename != entry.filename or not _plain(name):
            raise Hostile(f"`{entry.filename}` is not the name of a plain file below it", "path_traversal")
        if (entry.external_attr >> 16) & 0o170000 not in (0, 0o040000 if entry.is_dir() else 0o100000):
            raise Hostile(f"`{entry.filename}` is no plain file", "link")
        if entry.is_dir():
            if entry.file_size:
                raise Hostile(f"the folder `{entry.filename}` has content", "ambiguous_archive")
            continue
        if (folded := _folded(name)) in seen:
            raise Hostile(f"`{name}` is in it twice, at least on some systems", "ambiguous_archive")
        seen.add(folded)
        files[name] = entry
    for entry in entries:
        for above in [*PurePosixPath(entry.filename).parents][:-1]:
            if _folded(str(above)) in seen:
                raise Hostile(f"`{above}` is a file and a folder", "ambiguous_archive")
    return files


def _plain(name: str) -> bool:
    if not name.isprintable() or _ODD.search(name):
        return False
    return all(
        part not in ("", ".", "..")
        and len(part.encode()) <= LONGEST
        and not part.endswith((" ", "."))
        and not _DEVICE.fullmatch(part)
        for part in name.split("/")
    )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
