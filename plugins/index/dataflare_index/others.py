"""Distributions of others that plugins need, in the same index: `pip` and `uv` then need no second one.

They lie in ``others/NAME/``, with ``others/NAME.json`` for what the catalogue is for plugins; all of it is signed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from dataflare.errors import ConfigError
from dataflare_author.archive import Archive, Broken
from dataflare_index.catalogue import Listed

Json = Any
FOLDER = "others"
LARGEST, MOST = 8 << 30, 60_000
"""Bytes and files of a wheel, unpacked."""
LARGEST_METADATA = 4 << 20


class Other(Listed):
    """A distribution that is no plugin."""

    folder = FOLDER

    @property
    def distribution(self) -> str:
        """What `pip` knows it by."""
        return self.name

    @property
    def files_at(self) -> str:
        """Where its wheels are, below the index."""
        return f"{FOLDER}/{self.name}"

    def take(self, wheel: Path) -> bytes | None:
        """Take in a wheel; its metadata, or None where exactly it is there. Raises ConfigError ``index.…``."""
        _, version, metadata = about(wheel)
        release = self.releases.setdefault(version, {"files": {}, "yanked": None})
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if (known := release["files"].get(wheel.name)) is not None:
            if known["sha256"] == digest:
                return None
            message = f"`{wheel.name}` is published with other content"
            raise ConfigError.of("index.changed", message, fix="what is published never changes: give it a new version")
        release["files"][wheel.name] = {
            "sha256": digest,
            "size": wheel.stat().st_size,
            "metadata_sha256": hashlib.sha256(metadata).hexdigest(),
            "requires_python": HeaderParser().parsestr(metadata.decode("utf-8", "replace"))["Requires-Python"],
            "published": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return metadata


def about(wheel: Path) -> tuple[str, str, bytes]:
    """Name, version and metadata of any wheel. Raises ConfigError ``index.other``."""
    try:
        name, version, _, _ = parse_wheel_filename(wheel.name)
        metadata = _inner(wheel, "METADATA")
        if metadata is None:
            raise ValueError("it has no metadata")
    except (OSError, ValueError, InvalidWheelFilename) as error:
        raise ConfigError.of("index.other", f"`{wheel.name}` is no wheel", cause=str(error)) from error
    said = HeaderParser().parsestr(metadata.decode("utf-8", "replace"))
    if canonicalize_name(str(said["Name"])) != name or str(said["Version"]) != str(version):
        raise ConfigError.of("index.other", f"`{wheel.name}` is another distribution than its name says")
    return str(name), str(version), metadata


def is_plugin(wheel: Path) -> bool:
    """Whether a wheel says that it holds a plugin."""
    try:
        return b"[dataflare.plugins]" in (_inner(wheel, "entry_points.txt") or b"")
    except (OSError, Broken):
        return False


def _inner(wheel: Path, name: str) -> bytes | None:
    """A file of a wheel's metadata folder. Raises OSError, Broken."""
    with wheel.open("rb") as content:
        archive = Archive(content, most=MOST, largest=LARGEST)
        found = [each for each in archive.names() if each.endswith(f".dist-info/{name}") and each.count("/") == 1]
        if not found:
            return None
        if len(found) > 1 or archive.size(found[0]) > LARGEST_METADATA:
            raise Broken(f"it has several {name}, or one that is too long")
        return archive.read(found[0])


def names_in(index: Path) -> list[str]:
    """The distributions of others in an index."""
    return sorted(file.stem for file in (index / FOLDER).glob("*.json") if "." not in file.stem)


def read_all(index: Path) -> Iterable[Other]:
    """All of them, as the folder has them."""
    for name in names_in(index):
        yield Other(name, json.loads((index / FOLDER / f"{name}.json").read_text("utf-8"))["releases"])
