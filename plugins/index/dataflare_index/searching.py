"""What an index is searched by: one signed file, `search.json`, with a few words of each plugin.

::

    {"format": 1, "plugins": [{"name": "geohash", "version": "1.1.0", "summary": "…", "runtime": "wasm",
                               "components": ["processor:geohash"]}, …]}

By name; ``version`` is the newest that is neither yanked nor a pre-release, or else the newest. Clients keep the
file and fetch it again only when it was signed anew with other content; pages search in it in the browser.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.version import Version

from dataflare.errors import ConfigError
from dataflare_index.catalogue import Listed

Json = Any
FILE = "search.json"
FORMAT = 1
LARGEST = 64 << 20
"""Bytes of the file of an index at an address."""


def line_of(listed: Listed) -> dict[str, Json]:
    """What is searched of a plugin."""
    version = newest_of(listed)
    told = listed.releases[version]
    components = [f"{kind}:{name}" for kind, names in sorted(told.get("components", {}).items()) for name in names]
    return {
        "name": listed.name,
        "version": version,
        "summary": told.get("summary", ""),
        "runtime": told.get("runtime", ""),
        "components": components,
    }


def newest_of(listed: Listed) -> str:
    """The version that somebody who names none gets."""
    versions = listed.versions()
    standing = [each for each in versions if not listed.releases[each].get("yanked")] or versions
    stable = [each for each in standing if not Version(each).is_prerelease] or standing
    return stable[-1]


def content(lines: dict[str, Json]) -> bytes:
    """The file's bytes for lines by name."""
    told = {"format": FORMAT, "plugins": [lines[name] for name in sorted(lines)]}
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()


def lines_in(raw: bytes) -> dict[str, Json]:
    """The lines of a file by name. Raises ConfigError ``index.catalogue``."""
    try:
        return {str(each["name"]): each for each in json.loads(raw)["plugins"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError.of(
            "index.catalogue", "what the index is searched by is nonsense", cause=str(error)
        ) from error


def read(place: str) -> dict[str, Json]:
    """The lines of an index in a folder or at an address, unchecked.

    Raises ConfigError ``index.none``, ``index.catalogue``, Failed ``index.unreachable``.
    """
    if "://" in place:
        from dataflare_index.client import fetched

        return lines_in(fetched(place, FILE, LARGEST))
    try:
        raw = Path(place, FILE).read_bytes()
    except OSError as error:
        message = f"{place} holds no index that can be searched"
        raise ConfigError.of("index.none", message, cause=str(error)) from error
    return lines_in(raw)


def matching(lines: Iterable[dict[str, Json]], words: Iterable[str]) -> list[dict[str, Json]]:
    """The lines that have all the words in them, those first that have them in their names."""
    wanted = [word.casefold() for word in words]
    found = []
    for line in lines:
        name, rest = line["name"].casefold(), None
        rank = 0
        for word in wanted:
            if word in name:
                rank += 0 if word == name else 1 if name.startswith(word) else 2
                continue
            if rest is None:
                rest = " ".join((line["summary"], line["runtime"], *line["components"])).casefold()
            if word not in rest:
                break
            rank += 10
        else:
            found.append((rank, name, line))
    return [line for _, _, line in sorted(found, key=lambda each: each[:2])]


def digest_name(raw: bytes) -> str:
    """The name that a client asks for the file by."""
    return f"{hashlib.sha256(raw).hexdigest()}.{FILE}"


def forget_old(index: Path, keep: int = 4) -> None:
    """Remove what only clients of snapshots of long ago would ask for: the file is large, and there is one a change."""
    held = sorted(index.glob(f"*.{FILE}"), key=lambda file: file.stat().st_mtime_ns)
    for file in held[:-keep]:
        if not file.name.startswith("."):
            file.unlink(missing_ok=True)
