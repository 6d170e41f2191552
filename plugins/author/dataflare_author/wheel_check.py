"""Reads wheels that others built: each is checked before anything of it is written to the disk."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import NoReturn

from packaging.utils import canonicalize_name

from dataflare.errors import ConfigError
from dataflare_author.names import Names

LARGEST = 1 << 30
"""Bytes that the files of a wheel may have together."""
MOST = 20_000
"""Files of a wheel."""
GROUP = "dataflare.plugins"


@dataclass(frozen=True)
class Wheel:
    """A wheel that holds one plugin, with all its files. ``needs``: the distributions that it requires."""

    path: Path
    names: Names
    version: str
    digest: str
    needs: tuple[str, ...]
    files: dict[str, bytes] = field(repr=False)

    def unpack(self, folder: Path) -> Path:
        """Write its files into a folder that is empty; its package there."""
        for name, content in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return folder / self.names.package


def read_wheel(path: Path) -> Wheel:
    """Read and check a wheel. Raises ConfigError ``author.wheel`` with what is wrong with it."""
    return _Reader(path).wheel()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path

    def wheel(self) -> Wheel:
        try:
            content = self.path.read_bytes()
            files = self.files(content)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
            self.refuse(f"it cannot be read: {error}")
        info = self.only({name.partition("/")[0] for name in files if ".dist-info/" in name}, "*.dist-info folder")
        self.check_record(files, f"{info}/RECORD")
        metadata = HeaderParser().parsestr(self.text(files, f"{info}/METADATA"))
        distribution, version = str(metadata["Name"] or ""), str(metadata["Version"] or "")
        id, package = self.entry_point(self.text(files, f"{info}/entry_points.txt"))
        names = Names(id)
        tops = {name.partition("/")[0] for name in files} - {info}
        self.only(tops, "top-level package")
        if canonicalize_name(distribution) != names.distribution:
            self.refuse(f"the plugin is `{id}`, the distribution `{distribution}`; it must be `{names.distribution}`")
        if package != names.package or tops != {package}:
            self.refuse(f"its package must be `{names.package}`, and its entry point name that")
        needs = tuple(str(each) for each in metadata.get_all("Requires-Dist") or ())
        digest = hashlib.sha256(content).hexdigest()
        return Wheel(self.path, names, version, digest, needs, files)

    def files(self, content: bytes) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MOST or sum(entry.file_size for entry in entries) > LARGEST:
                self.refuse(f"it has more than {MOST:,} files or {LARGEST:,} bytes")
            for entry in entries:
                place = PurePosixPath(entry.filename)
                linked = (entry.external_attr >> 16) & 0o170000 not in (0, 0o100000)
                outside = place.is_absolute() or ".." in place.parts or "\\" in entry.filename or ":" in entry.filename
                if outside or linked or str(place) != entry.filename:
                    self.refuse(f"`{entry.filename}` is not the name of a plain file below the wheel")
                if entry.filename in found:
                    self.refuse(f"`{entry.filename}` is in it twice")
                found[entry.filename] = archive.read(entry)
        return found

    def check_record(self, files: dict[str, bytes], record: str) -> None:
        """Each file is in RECORD with its digest, and nothing else is."""
        lines = list(csv.reader(io.StringIO(self.text(files, record))))
        told = {line[0]: line[1] for line in lines if len(line) == 3}
        if len(told) != len(lines) or set(told) != set(files):
            odd = sorted(set(told) ^ set(files))
            self.refuse(f"RECORD and the files differ: {', '.join(f'`{name}`' for name in odd[:5]) or 'in lines'}")
        for name, content in files.items():
            algorithm, _, wanted = told[name].partition("=")
            if name == record:
                continue
            have = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            if algorithm != "sha256" or wanted != have:
                self.refuse(f"`{name}` is not what RECORD says")

    def entry_point(self, text: str) -> tuple[str, str]:
        parser = ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(text)
        claims = dict(parser[GROUP]) if parser.has_section(GROUP) else {}
        id = self.only(set(claims), f"entry point of `{GROUP}`")
        return id, claims[id].strip()

    def text(self, files: dict[str, bytes], name: str) -> str:
        if name not in files:
            self.refuse(f"`{name}` is not in it")
        return files[name].decode("utf-8", "replace")

    def only(self, names: set[str], what: str) -> str:
        if len(names) != 1:
            listed = ", ".join(f"`{name}`" for name in sorted(names)) or "none"
            self.refuse(f"it must have one {what}, and has {listed}")
        return next(iter(names))

    def refuse(self, cause: str) -> NoReturn:
        fix = "build it by `dataflare plugin build`"
        message = f"`{self.path.name}` is not the wheel of a plugin"
        raise ConfigError.of("author.wheel", message, cause=cause, file=str(self.path), fix=fix)
