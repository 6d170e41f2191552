"""What an index says of its plugins: a JSON file a plugin, with its releases, what they ask for and what they need."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, ClassVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from dataflare.errors import ConfigError
from dataflare_author.wheel_check import Wheel

Json = Any
DATA = ("wasm", "js", "extism")
"""Runtimes whose wheels hold data only."""
MALWARE = "malware"
"""The kind of advisory that keeps a release from being chosen, and from being used where it is locked."""


@dataclass(frozen=True)
class File:
    """One wheel of a release."""

    name: str
    sha256: str
    size: int
    metadata_sha256: str
    requires_python: str | None
    published: str


@dataclass
class Listed:
    """One plugin of an index. ``releases``: version → what is said of it.

    ``owner``: who publishes it, where it is signed. ``advisories``: what is warned of, each with ``kind``, ``range``,
    ``reason``, ``published``.
    """

    name: str
    releases: dict[str, dict[str, Json]] = field(default_factory=dict)
    owner: dict[str, Json] = field(default_factory=dict)
    advisories: list[dict[str, Json]] = field(default_factory=list)
    folder: ClassVar[str] = "catalogue"

    @property
    def distribution(self) -> str:
        """What `pip` knows it by."""
        return f"dataflare-{self.name}"

    @property
    def files_at(self) -> str:
        """Where its wheels are, below the index."""
        return f"files/{self.name}"

    @classmethod
    def read(cls, index: Path, name: str) -> Listed:
        """What the index says of a plugin; nothing, where it does not know it."""
        try:
            told = json.loads((index / "catalogue" / f"{name}.json").read_text("utf-8"))
        except FileNotFoundError:
            return cls(name)
        return cls.told(name, told)

    @classmethod
    def told(cls, name: str, told: Json) -> Listed:
        """From what a file of the catalogue says. Raises ConfigError ``index.catalogue`` where that is nonsense."""
        releases = told.get("releases") if isinstance(told, dict) else None
        if not isinstance(releases, dict) or not all(isinstance(each, dict) for each in releases.values()):
            raise ConfigError.of("index.catalogue", f"what the index says of `{name}` is not a list of releases")
        owner, advisories = told.get("owner") or {}, told.get("advisories") or []
        if not _understood(releases, owner, advisories):
            raise ConfigError.of("index.catalogue", f"what the index says of who publishes `{name}` cannot be read")
        return cls(name, releases, owner, advisories)

    def content(self) -> bytes:
        """The file's bytes: always the same for the same releases."""
        told: dict[str, Json] = {"name": self.name}
        told["releases"] = {version: self.releases[version] for version in self.versions()}
        if self.owner:
            told["owner"] = self.owner
        if self.advisories:
            told["advisories"] = self.advisories
        return (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()

    def versions(self) -> list[str]:
        """The versions, oldest first."""
        return sorted(self.releases, key=Version)

    def warned(self, version: str) -> list[dict[str, Json]]:
        """What is warned of in a release."""
        return [
            each
            for each in self.advisories
            if SpecifierSet("" if each["range"] == "*" else each["range"]).contains(version, prereleases=True)
        ]

    def revoked(self, keyid: str, snapshot: int) -> bool:
        """Is nothing of a publisher's key to be believed that came with this snapshot?"""
        told = self.owner.get("revoked", {}).get(keyid)
        return told is not None and snapshot >= int(told["from"])

    def add(self, wheel: Wheel, metadata: bytes) -> bool:
        """Take in a wheel; False where exactly it is there already.

        Raises ConfigError: ``index.changed`` for other bytes under a published name, ``index.manifests`` for wheels of
        one release with different manifests.
        """
        manifest = wheel.files[f"{wheel.names.package}/dataflare.toml"]
        digest = hashlib.sha256(manifest).hexdigest()
        release = self.releases.setdefault(
            wheel.version, {"manifest_sha256": digest, "files": {}, "yanked": None, **_told(manifest)}
        )
        if release["runtime"] in DATA and wheel.needs:
            message = f"`{wheel.path.name}` holds no Python, and asks for {', '.join(wheel.needs)}"
            raise ConfigError.of("index.needs", message, fix="leave out Requires-Dist: plugins go into [dependencies]")
        known = release["files"].get(wheel.path.name)
        if known is not None:
            if known["sha256"] == wheel.digest:
                return False
            message = f"`{wheel.path.name}` is published with other content"
            raise ConfigError.of("index.changed", message, fix="what is published never changes: give it a new version")
        if release["manifest_sha256"] != digest:
            message = f"the wheels of `{self.name}` {wheel.version} have different manifests"
            raise ConfigError.of("index.manifests", message, fix="build all wheels of a release from one manifest")
        release["files"][wheel.path.name] = {
            "sha256": wheel.digest,
            "size": wheel.path.stat().st_size,
            "metadata_sha256": hashlib.sha256(metadata).hexdigest(),
            "requires_python": HeaderParser().parsestr(metadata.decode("utf-8", "replace"))["Requires-Python"],
            "published": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return True

    def yank(self, version: str, reason: str) -> None:
        """Mark a release. Raises ConfigError ``index.unknown``."""
        if version not in self.releases:
            have = ", ".join(self.versions()) or "none"
            raise ConfigError.of("index.unknown", f"the index has no `{self.name}` {version}", fix=f"it has {have}")
        self.releases[version]["yanked"] = reason


def _understood(releases: dict[str, dict[str, Json]], owner: Json, advisories: Json) -> bool:
    """Is what is said of publishers, keys and warnings of the shape that others rely on?"""
    try:
        words, numbers = [], []
        for advisory in advisories:
            SpecifierSet("" if advisory["range"] == "*" else advisory["range"])
            words += [advisory[word] for word in ("kind", "range", "reason", "published")]
        if owner:
            keys, revoked = owner["keys"].values(), owner.get("revoked", {}).values()
            words += [owner["identity"], owner["keyid"]]
            words += [*(key["public"] for key in keys), *(told["reason"] for told in revoked)]
            numbers += [*(key["snapshot"] for key in keys), *(told["from"] for told in revoked)]
        for release in releases.values():
            if publisher := release.get("publisher"):
                words += [publisher["identity"], publisher["keyid"]]
                numbers += [file["snapshot"] for file in release["files"].values()]
        return all(isinstance(word, str) for word in words) and all(isinstance(each, int) for each in numbers)
    except (InvalidSpecifier, KeyError, TypeError, AttributeError):
        return False


def _told(manifest: bytes) -> dict[str, Json]:
    given = tomllib.loads(manifest.decode())
    plugin, api = given.get("plugin", {}), given.get("api", {})
    return {
        "summary": plugin.get("summary", ""),
        "license": plugin.get("license", ""),
        "runtime": given.get("runtime", {}).get("kind", ""),
        "api": api.get("requires", ""),
        "host": api.get("host", ""),
        "features": api.get("features", []),
        "dependencies": given.get("dependencies", {}),
        "permissions": given.get("permissions", {}),
        "components": {kind: sorted(named) for kind, named in given.get("components", {}).items()},
        "summaries": given.get("summaries", {}),
    }
