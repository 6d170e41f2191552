"""Reads wheels that others built: each is checked before anything of it is written to the disk."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from typing import NoReturn

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from dataflare.errors import ConfigError
from dataflare_author.archive import Archive, Hostile
from dataflare_author.names import Names, new_names
from dataflare_author.refusals import NotTrusted

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
        write_files(self.files, folder)
        return folder / self.names.package


def read_wheel(path: Path) -> Wheel:
    """Read and check a wheel.

    Raises ConfigError ``author.wheel`` with what is wrong with it, NotTrusted ``author.hostile_wheel`` where that is
    an attack, which the details name.
    """
    files, digest = files_of(path)
    return _Reader(path).wheel(files, digest)


def files_of(path: Path) -> tuple[dict[str, bytes], str]:
    """The files of a wheel, whatever they say, and its digest. Raises as ``read_wheel``."""
    try:
        content = path.read_bytes()
        archive = Archive(io.BytesIO(content), most=MOST, largest=LARGEST)
        return {name: archive.read(name) for name in archive.names()}, hashlib.sha256(content).hexdigest()
    except Hostile as error:
        message, fix = f"`{path.name}` is made to do harm", "do not use it, and ask who gave it to you"
        details = {"attack": error.attack}
        raise NotTrusted.of(
            "author.hostile_wheel", message, cause=str(error), file=str(path), fix=fix, details=details
        ) from error
    except (OSError, ValueError) as error:
        _Reader(path).refuse(f"it cannot be read: {error}")


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files below a folder that is empty, by their paths."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path

    def wheel(self, files: dict[str, bytes], digest: str) -> Wheel:
        try:
            return self.checked(files, digest)
        except (ValueError, Error, csv.Error) as error:
            self.refuse(f"it cannot be read: {error}")

    def checked(self, files: dict[str, bytes], digest: str) -> Wheel:
        info = self.only({name.partition("/")[0] for name in files if ".dist-info/" in name}, "*.dist-info folder")
        self.check_record(files, f"{info}/RECORD")
        metadata = HeaderParser().parsestr(self.text(files, f"{info}/METADATA"))
        distribution, version = str(metadata["Name"] or ""), str(metadata["Version"] or "")
        id, package = self.entry_point(self.text(files, f"{info}/entry_points.txt"))
        names = new_names(id)
        tops = {name.partition("/")[0] for name in files} - {info}
        self.only(tops, "top-level package")
        if canonicalize_name(distribution) != names.distribution:
            self.refuse(f"the plugin is `{id}`, the distribution `{distribution}`; it must be `{names.distribution}`")
        if package != names.package or tops != {package}:
            self.refuse(f"its package must be `{names.package}`, and its entry point name that")
        self.check_name(names, version)
        needs = tuple(str(each) for each in metadata.get_all("Requires-Dist") or ())
        return Wheel(self.path, names, version, digest, needs, files)

    def check_name(self, names: Names, version: str) -> None:
        """Its file says what is in it: installers go by the file's name."""
        try:
            distribution, told, _, _ = parse_wheel_filename(self.path.name)
            same = (distribution, told) == (names.distribution, Version(version))
        except (InvalidWheelFilename, InvalidVersion) as error:
            self.refuse(str(error))
        if not same:
            self.refuse(
                f"by its file's name it is `{distribution}` {told}, and it holds {names.distribution} {version}"
            )

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
