"""Fetches the distributions that plugins need of others: for all platforms and Pythons by uv, else for these by pip."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from dataflare.errors import ConfigError
from dataflare_index.client import fetched_to

SECONDS = 600
Json = Any


@dataclass(frozen=True)
class Wanted:
    """Where wheels are taken from, folders and addresses of indexes (none: where uv and pip take them), and for whom.

    ``platforms``: words that platform tags have in them (``win_amd64``, ``x86_64``), ``pythons``: versions (``3.12``);
    without, all.
    """

    places: Sequence[str] = ()
    platforms: Sequence[str] = ()
    pythons: Sequence[str] = ()

    def fits(self, name: str) -> bool:
        """Is a wheel for one of the platforms, and for one of the Pythons?"""
        return any(self._fits(tag) for tag in parse_wheel_filename(name)[3])

    def _fits(self, tag: Tag) -> bool:
        platform = not self.platforms or tag.platform == "any" or any(each in tag.platform for each in self.platforms)
        return platform and (not self.pythons or any(_runs_on(tag, each) for each in self.pythons))


def closure_of(wheels: Sequence[Path], wanted: Wanted, to: Path) -> list[Path]:
    """All wheels that these need. Raises ConfigError ``index.closure`` with what uv or pip says."""
    uv = _uv()
    if uv is None:
        _by_pip(wheels, wanted, to)
    else:
        found = [each for each in _named_by(uv, wheels, wanted, to) if wanted.fits(each[0])]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda each: _fetch(each, to), found))
    given = {wheel.name for wheel in wheels}
    return sorted(file for file in to.glob("*.whl") if file.name not in given)


def _named_by(uv: list[str], wheels: Sequence[Path], wanted: Wanted, to: Path) -> Iterator[tuple[str, str, str]]:
    """File, address and digest of each wheel, of all platforms and Pythons."""
    asked, told = to / "wanted.txt", to / "pylock.toml"
    asked.write_text("".join(f"{_named(wheel)} @ {wheel.absolute().as_uri()}\n" for wheel in wheels))
    oldest = min(wanted.pythons, key=_number, default="3.11")
    words = ["pip", "compile", "-q", "--universal", "--python-version", oldest, "--only-binary", ":all:"]
    _run([*uv, *words, "--format", "pylock.toml", "-o", str(told), *_places(wanted), str(asked)])
    for package in tomllib.loads(told.read_text("utf-8"))["packages"]:
        for wheel in package.get("wheels", ()):
            address = wheel.get("url") or (to / wheel["path"]).absolute().as_uri()
            name = wheel.get("name") or Path(unquote(urlsplit(address).path)).name
            yield name, address, wheel["hashes"]["sha256"]


def _places(wanted: Wanted) -> Iterator[str]:
    folders = [each for each in wanted.places if "://" not in each]
    indexes = [each for each in wanted.places if "://" in each]
    if wanted.places:
        yield "--no-config"
    for number, index in enumerate(indexes):
        yield from ("--index" if number else "--default-index", index)
    if folders and not indexes:
        yield "--no-index"
    for folder in folders:
        yield from ("--find-links", folder)


def _fetch(wheel: tuple[str, str, str], to: Path) -> None:
    name, address, digest = wheel
    target = to / name
    try:
        if Path(name).name != name or not name.endswith(".whl"):
            raise ValueError(f"`{name}` is no wheel")
        fetched_to(address, target)
        with target.open("rb") as content:
            have = hashlib.file_digest(content, "sha256").hexdigest()
    except ValueError as error:
        raise _refused(str(error)) from error
    if have != digest:
        raise _refused(f"`{name}` is not what the index says it is")


def _by_pip(wheels: Sequence[Path], wanted: Wanted, to: Path) -> None:
    """For this platform and this Python."""
    folders = [each for each in wanted.places if "://" not in each]
    indexes = [each for each in wanted.places if "://" in each]
    asked = ["--isolated"] if wanted.places else []
    asked += [f"--find-links={folder}" for folder in folders] + (["--no-index"] if folders and not indexes else [])
    asked += [f"--{'extra-' if number else ''}index-url={index}" for number, index in enumerate(indexes)]
    words = ["download", "-q", "--disable-pip-version-check", "--only-binary", ":all:", "-d", str(to), *asked]
    _run([sys.executable, "-m", "pip", *words, *map(str, wheels)])


def _run(words: Iterable[str]) -> None:
    done = subprocess.run([*words], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise _refused(" ".join(line.strip(" ×╰─▶│├") for line in done.stderr.splitlines())[-2000:])


def _refused(cause: str) -> ConfigError:
    message = "what these wheels need cannot be had"
    fix = "name folders or indexes that hold it with --deps-from"
    return ConfigError.of("index.closure", message, cause=cause, fix=fix)


def _named(wheel: Path) -> str:
    try:
        return str(parse_wheel_filename(wheel.name)[0])
    except InvalidWheelFilename as error:
        raise ConfigError.of("author.wheel", f"`{wheel.name}` is no wheel", cause=str(error)) from error


def _runs_on(tag: Tag, python: str) -> bool:
    """Does a wheel of a tag run on a Python, as far as tags tell?"""
    major, minor = _number(python)
    kind, number = tag.interpreter[:2], tag.interpreter[2:]
    if kind == "py":
        return number in (str(major), f"{major}{minor}")
    if kind != "cp" or not number.startswith(str(major)):
        return False
    least = int(number[1:] or 0)
    return least <= minor if tag.abi == "abi3" else least == minor and not tag.abi.endswith("t")


def _number(python: str) -> tuple[int, int]:
    try:
        major, minor = python.split(".")[:2]
        return int(major), int(minor)
    except ValueError as error:
        raise ConfigError.of("index.closure", f"`{python}` is no version of Python", fix="write it as 3.12") from error


def _uv() -> list[str] | None:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return None if found is None else [found]
