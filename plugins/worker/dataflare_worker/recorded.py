"""What is installed in an environment, against what it says of itself: each file's digest, and what each needs."""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from dataflare.errors import ConfigError
from dataflare_worker.lent import Lent, parsed

_AT_ONCE = 4


def changed_files(packages: Path) -> list[str]:
    """The files that are not what the RECORD of their distribution says; all of a folder of installed ones."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda record: list(_changed(packages, record)), packages.glob("*.dist-info/RECORD"))
        return [name for names in found for name in names]


def unmet(packages: Path, lent: Lent, plugin: str) -> None:
    """Does all that is installed go together, with what is lent? Raises ConfigError ``worker.environment``."""
    installed = metadata.distributions(path=[str(packages)])
    together = dict(lent.distributions) | {canonicalize_name(each.metadata["Name"]): each for each in installed}
    for name, each in together.items():
        for needed in parsed(each.requires or ()):
            have = together.get(canonicalize_name(needed.name))
            if have is None or not needed.specifier.contains(have.version, prereleases=True):
                raise ConfigError.of(
                    "worker.environment",
                    f"the environment of {f'the plugin `{plugin}`' if plugin else 'the host'} does not go together",
                    cause=f"{name} {each.version} needs `{needed}`, and there is {have.version if have else 'none'}",
                    fix="lock again by `dataflare plugin upgrade`, or mend the pylock",
                )


def _changed(packages: Path, record: Path) -> Iterator[str]:
    for line in csv.reader(record.read_text("utf-8").splitlines()):
        if len(line) == 3 and line[1] and not _is(packages / line[0], line[1]):
            yield line[0]


def _is(file: Path, told: str) -> bool:
    kind, _, digest = told.partition("=")
    try:
        with file.open("rb") as content:
            have = hashlib.file_digest(content, kind).digest()
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(have).rstrip(b"=").decode() == digest
