"""Environments by a ``pylock.toml`` (PEP 751): the files that a project chose for a plugin, and no others."""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from dataflare.errors import ConfigError
from dataflare_worker.installing import find_uv
from dataflare_worker.lent import parsed

_SECONDS = 1800


def pylock_of(package: Path) -> Path | None:
    """``locks/pylock.PLUGIN.toml`` of the project in whose set a plugin's package is unpacked, where it is there."""
    if len(package.parents) < 5 or package.parents[3].name != ".dataflare":
        return None
    file = package.parents[4] / "locks" / f"pylock.{package.parents[1].name}.toml"
    return file if file.is_file() else None


def install_pinned(environment: Path, pinned: bytes, requirements: Sequence[str], plugin: str) -> None:
    """Install what a pylock says, each file checked by its digest.

    Raises ConfigError ``worker.environment``, also where it lacks one of the ``requirements``.
    """
    uv = find_uv()
    said = "" if uv else "uv, which installs by a pylock, is not there"
    said = said or lacking(pinned, requirements)
    if uv and not said:
        with tempfile.TemporaryDirectory(prefix="dataflare-install-") as folder:
            file = Path(folder, "pylock.toml")
            file.write_bytes(pinned)
            words = [uv, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python")]
            done = subprocess.run(
                [*words, "--require-hashes", "--no-build", "-r", str(file)],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        said = "" if done.returncode == 0 else done.stderr.strip() or "uv failed"
    if said:
        raise ConfigError.of(
            "worker.environment",
            f"the environment of the plugin `{plugin}` cannot be made by its pylock",
            cause=said[-4000:],
            fix="lock again by `dataflare plugin lock`, or ask who keeps the index where a file differs",
        )


def lacking(pinned: bytes, requirements: Iterable[str]) -> str:
    """What a pylock lacks of what is required; empty where it has all."""
    try:
        told = tomllib.loads(pinned.decode())
        have = {canonicalize_name(each["name"]): str(each.get("version", "")) for each in told["packages"]}
    except (ValueError, KeyError, TypeError) as error:
        return f"it is no pylock: {error}"
    for each in parsed(requirements):
        version = have.get(canonicalize_name(each.name))
        if version is None or (version and not each.specifier.contains(version, prereleases=True)):
            return f"the plugin requires `{each}`, and the pylock has {version or 'none'}"
    return ""
