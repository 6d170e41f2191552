"""What the host lends to its guests' environments: its own SDK, and what else they need that is installed here.

A loan is a folder of links, so it costs nothing and needs no network. An installer is told of it by wheels that hold
nothing but names and versions.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dataflare_host.sets import host_path

SDK = "dataflare-sdk"
_WHEEL = "Wheel-Version: 1.0\nGenerator: dataflare\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
OURS = re.compile(r"dataflare(-.*)?\Z")
"""Distributions that come from this host and from no index."""


@dataclass(frozen=True)
class Lent:
    """Distributions of this interpreter, by name."""

    distributions: Mapping[str, metadata.Distribution]

    @classmethod
    def of(cls, requirements: Iterable[str]) -> Lent:
        """The SDK, and what of ``requirements`` is installed here in a version that fits, with all that these need."""
        found: dict[str, metadata.Distribution] = {}
        for needed in parsed([SDK, *requirements]):
            found |= _with_all_it_needs(str(needed)) or {}
        return cls(dict(sorted(found.items())))

    @classmethod
    def of_host(cls) -> Lent:
        """The host with all its plugins, and what is here of what they need or can make use of (their extras)."""
        found: dict[str, metadata.Distribution] = {}
        pending = [
            each
            for each in metadata.distributions(path=host_path())
            if OURS.match(canonicalize_name(each.metadata["Name"]))
        ]
        while pending:
            known = pending.pop()
            name = canonicalize_name(known.metadata["Name"])
            if name in found:
                continue
            found[name] = known
            told = known.metadata.get_all("Provides-Extra") or () if OURS.match(name) else ()
            extras = [extra for extra in told if extra != "test"]  # what a run makes use of, not who works on it
            for needed in parsed(known.requires or (), extras):
                with suppress(metadata.PackageNotFoundError):
                    pending.append(metadata.distribution(needed.name))
        return cls(dict(sorted(found.items())))

    def ours(self) -> Lent:
        """Only those that no index has."""
        return Lent({name: each for name, each in self.distributions.items() if OURS.match(name)})

    def names(self) -> list[str]:
        """``name==version @ place`` of each: two loans with the same ones are the same."""
        return [f"{name}=={_version(each)} @ {_home(each)}" for name, each in self.distributions.items()]

    def pins(self) -> list[str]:
        """``name==version`` of each."""
        return [f"{name}=={each.version}" for name, each in self.distributions.items()]

    def satisfy(self, requirement: str) -> bool:
        """Whether a requirement needs no more than what is lent (or nothing at all on this machine)."""
        try:
            needed = Requirement(requirement)
        except InvalidRequirement:
            return False
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            return True
        known = self.distributions.get(canonicalize_name(needed.name))
        return known is not None and _fits(known, needed)

    def places(self) -> list[Path]:
        """Their packages, modules and metadata."""
        return [place for distribution in self.distributions.values() for place in _places(distribution)]

    def wheels(self, folder: Path) -> None:
        """Write wheels that hold nothing: an installer then takes the distributions for installed."""
        for each in self.distributions.values():
            empty_wheel(folder, each.metadata["Name"], each.version, each.read_text("METADATA") or "")


def empty_wheel(folder: Path, distribution: str, version: str, metadata: str) -> None:
    """Write a wheel that holds nothing but what it says of itself."""
    stem = f"{re.sub(r'[-_.]+', '_', distribution)}-{version}"
    inside = f"{stem}.dist-info"
    files = {f"{inside}/METADATA": metadata, f"{inside}/WHEEL": _WHEEL}
    record = f"{inside}/RECORD"
    files[record] = "".join(f"{each},,\n" for each in (*files, record))
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for place, content in files.items():
            wheel.writestr(place, content)


def link_all(places: Iterable[Path], folder: Path) -> None:
    """Make a folder with links to these files and folders. An existing one stays, unless what it links to is gone."""
    if are_there(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for place in places:
            if not (aside / place.name).is_symlink():  # several distributions may share a namespace
                (aside / place.name).symlink_to(place)
        aside.chmod(0o755)
        os.rename(aside, folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def are_there(folder: Path) -> bool:
    """Is all there that a folder links to?"""
    return folder.is_dir() and all(each.exists() for each in folder.iterdir())


def parsed(requirements: Iterable[str], extras: Iterable[str] = ()) -> Iterator[Requirement]:
    """The requirements that hold on this machine, and those of ``extras``; what is none is left out."""
    chosen = ("", *extras)
    for text in requirements:
        with suppress(InvalidRequirement):
            found = Requirement(text)
            if found.marker is None or any(found.marker.evaluate({"extra": extra}) for extra in chosen):
                yield found


@cache
def _version(distribution: metadata.Distribution) -> str:
    return distribution.version  # read from its metadata each time


@cache
def _with_all_it_needs(requirement: str) -> Mapping[str, metadata.Distribution] | None:
    """The distributions that a requirement comes to; None where one is not here, or not in a version that fits."""
    wanted, found = [Requirement(requirement)], dict[str, metadata.Distribution]()
    while wanted:
        needed = wanted.pop()
        name = canonicalize_name(needed.name)
        try:
            known = found.get(name) or metadata.distribution(name)
        except metadata.PackageNotFoundError:
            return None
        if not _fits(known, needed):
            return None
        if name not in found:
            found[name] = known
            wanted += parsed(known.requires or ())
    return found


def _home(distribution: metadata.Distribution) -> Path:
    """Where its metadata really are: in an environment that was lent them there is but a link."""
    folder = getattr(distribution, "_path", None)  # its files would tell it too, in a hundred times as long
    return Path(str(folder)).resolve().parent if folder else Path(str(distribution.locate_file("")))


def _fits(known: metadata.Distribution, needed: Requirement) -> bool:
    return not needed.extras and needed.specifier.contains(known.version, prereleases=True)


def _places(distribution: metadata.Distribution) -> Iterator[Path]:
    """What a distribution has put on ``sys.path``: packages, modules, its metadata."""
    names = {file.parts[0] for file in distribution.files or () if len(file.parts) > 1 or file.suffix in (".py", ".so")}
    found = {name for name in names if name not in ("..", "__pycache__") and not name.endswith(".data")}
    yield from (Path(str(distribution.locate_file(name))).resolve() for name in sorted(found))
    if all(name.endswith(".dist-info") for name in found):
        # Installed for development: its files lie elsewhere.
        name = canonicalize_name(distribution.metadata["Name"])
        spec = importlib.util.find_spec("dataflare" if name == SDK else name.replace("-", "_"))
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            yield origin.parent if origin.name == "__init__.py" else origin
