"""Environments by a ``pylock.toml`` (PEP 751): the files that a project chose for a plugin, and no others."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from dataflare.errors import ConfigError
from dataflare_worker.installing import find_uv
from dataflare_worker.lent import parsed

_SECONDS = 1800
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Wheel:
    """A wheel of a pylock. ``marker``: where its distribution is for; ``address``: where it was found."""

    distribution: str
    version: str
    name: str
    sha256: str
    address: str
    marker: str = ""

    @classmethod
    def of(cls, package: dict[str, Any], told: dict[str, Any]) -> Wheel:
        """From what a pylock says of it and of its package. Raises ValueError, KeyError."""
        address = str(told.get("url") or told.get("path") or "")
        name = str(told.get("name") or unquote(urlsplit(address).path).rpartition("/")[2])
        version, sha256 = str(package.get("version", "")), str(told["hashes"]["sha256"])
        if not _NAME.match(name) or not _DIGEST.match(sha256):  # they become names of files
            raise ValueError(f"it is no pylock: it names the wheel `{name}` with the digest `{sha256}`")
        return cls(package["name"], version, name, sha256, address, package.get("marker", ""))


def pylock_of(package: Path) -> Path | None:
    """``locks/pylock.PLUGIN.toml`` of the project in whose set a plugin's package is unpacked, where it is there."""
    if len(package.parents) < 5 or package.parents[3].name != ".dataflare":
        return None
    file = package.parents[4] / "locks" / f"pylock.{package.parents[1].name}.toml"
    return file if file.is_file() else None


def install_pinned(
    environment: Path,
    pinned: bytes,
    requirements: Sequence[str],
    plugin: str,
    base: Path,
    places: Sequence[Path],
    trusting: bool = True,
) -> None:
    """Install what a pylock says, each file checked by its digest. ``base``: the folder of the pylock.

    ``places``: where wheels are taken from without asking anybody; ``trusting``: may uv's cache be used?

    Raises ConfigError ``worker.environment``, also where it lacks one of the ``requirements``.
    """
    uv = find_uv()
    said = "" if uv else "uv, which installs by a pylock, is not there"
    said = said or lacking(pinned, requirements)
    try:
        local = "" if said else _by_place(pinned, base, places)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = str(error)
    if uv and not said:
        with tempfile.TemporaryDirectory(prefix="dataflare-install-") as folder:
            file = Path(folder, "pylock.toml")
            file.write_text(local, "utf-8")
            words = [uv, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python")]
            done = subprocess.run(
                [*words, "--require-hashes", "--no-build", "-r", str(file), *([] if trusting else ["--no-cache"])],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        said = "" if done.returncode == 0 else done.stderr.strip() or "uv failed"
    if said:
        raise ConfigError.of(
            "worker.environment",
            f"the environment of {f'the plugin `{plugin}`' if plugin else 'the host'} cannot be made by its pylock",
            cause=said[-4000:],
            fix="lock again by `dataflare plugin lock`, or ask who keeps the index where a file differs",
        )


def wheels_in(pinned: bytes) -> list[Wheel]:
    """The wheels that a pylock names. Raises ValueError where it is none."""
    try:
        return [Wheel.of(package, each) for package in packages_in(pinned) for each in package.get("wheels", ())]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no pylock: {error!r}") from error


def packages_in(pinned: bytes) -> list[dict[str, Any]]:
    """The packages of a pylock, each at least with a ``name``. Raises ValueError where it is none."""
    found = tomllib.loads(pinned.decode()).get("packages")
    if not isinstance(found, list) or not all(isinstance(each, dict) and "name" in each for each in found):
        raise ValueError("it is no pylock: it has no packages")
    return found


def place_of(wheel: Wheel, places: Iterable[Path]) -> Path | None:
    """Where a wheel is on this machine: in one of these folders, or there below its digest."""
    for place in places:
        for file in (place / wheel.name, place / wheel.sha256 / wheel.name):
            if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == wheel.sha256:
                return file
    return None


def _by_place(pinned: bytes, base: Path, places: Sequence[Path]) -> str:
    """A pylock in which what is on this machine is named by its place, and nothing by a place beside the pylock."""
    import tomlkit

    told = tomllib.loads(pinned.decode())
    for package in told["packages"]:
        for each in package.get("wheels", ()):
            found = place_of(Wheel.of(package, each), places)
            if found is not None:
                each.pop("url", None)
            if found is not None or "path" in each:
                each["path"] = str(found or base / each["path"])
    return tomlkit.dumps(told)


def lacking(pinned: bytes, requirements: Iterable[str]) -> str:
    """What a pylock lacks of what is required; empty where it has all."""
    try:
        have = {canonicalize_name(each["name"]): str(each.get("version", "")) for each in packages_in(pinned)}
    except ValueError as error:
        return str(error)
    for each in parsed(requirements):
        version = have.get(canonicalize_name(each.name))
        if version is None or (version and not each.specifier.contains(version, prereleases=True)):
            return f"the plugin requires `{each}`, and the pylock has {version or 'none'}"
    return ""
