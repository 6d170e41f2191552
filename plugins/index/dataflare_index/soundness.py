"""What is looked at in every wheel before it is published, by its author and again by the index that takes it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from dataflare.errors import ConfigError, Problem
from dataflare_index.leaks import leaks

if TYPE_CHECKING:
    from dataflare_author.wheel_check import Wheel
    from dataflare_host.host import HostApi


def check(wheel: Wheel, host: HostApi | None = None, seen: Collection[str] = ()) -> None:
    """Refuse a wheel with a wrong manifest, with code that needs more than it asks for, with what looks like a secret.

    Without a host nothing looks at its code. ``seen``: files that look like secrets and are none. Raises ConfigError.
    """
    _check_needs(wheel)
    _check_manifest(wheel, host)
    _check_leaks(wheel, seen)


def _check_needs(wheel: Wheel) -> None:
    """What it needs has a name, which the index answers for: no address goes past it."""
    for need in wheel.needs:
        try:
            wrong = "it names an address" if Requirement(need).url else ""
        except InvalidRequirement as error:
            wrong = str(error)
        if wrong:
            message = f"`{wheel.path.name}` needs `{need}`, which no index can give"
            raise ConfigError.of("index.needs", message, cause=wrong, file=str(wheel.path), fix="name what it needs")


def _check_manifest(wheel: Wheel, host: HostApi | None) -> None:
    from dataflare_author.auditing import audit
    from dataflare_host.read_manifest import load_manifest

    with tempfile.TemporaryDirectory(prefix="dataflare-publish-") as folder:
        package = wheel.unpack(Path(folder))
        manifest = load_manifest(package / "dataflare.toml", package.name)
        if (manifest.id, manifest.version) != (wheel.names.id, wheel.version):
            message = f"`{wheel.path.name}` holds the manifest of `{manifest.id}` {manifest.version}"
            raise ConfigError.of("plugin.id_conflict", message, file=str(wheel.path), fix="build the wheel again")
        if host is not None and manifest.runtime not in ("python", "declarative"):
            audit(manifest, host)


def _check_leaks(wheel: Wheel, seen: Collection[str]) -> None:
    found = [
        Problem(
            "publish.secret",
            f"`{leak.file}` has {leak.what} in line {leak.line}",
            file=str(wheel.path),
            fix=f"take it out, and have it changed if it was real; if it is none: --seen {leak.file}",
        )
        for leak in leaks(wheel.files, seen)
    ]
    if found:
        raise ConfigError(*found)
