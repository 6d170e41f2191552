"""Where an installed distribution came from: what its installer left beside it tells.

A wheel may bring any file, so what is said there is believed only as far as this machine bears it out.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from importlib.metadata import Distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit


def is_local(found: Distribution, name: str) -> bool:
    """Did somebody of this machine put it here: without an installer, or from a folder or file that is still there?

    Installers leave a RECORD of what they took from an index, and the address of what they took from elsewhere
    (PEP 610).
    """
    if found.read_text("RECORD") is None:
        return True
    try:
        told = json.loads(found.read_text("direct_url.json") or "{}")
        parts = urlsplit(str(told["url"]))
        place = Path(unquote(parts.path))
        if parts.scheme != "file":
            return False
        if not place.is_file():
            given = tomllib.loads((place / told.get("subdirectory", "") / "pyproject.toml").read_text("utf-8"))
            return plain(str(given["project"]["name"])) == name
        wanted = told["archive_info"]["hashes"]["sha256"]
        named = plain(place.name.partition("-")[0]) == name or plain(place.name).startswith(f"{name}-")
        return named and hashlib.sha256(place.read_bytes()).hexdigest() == wanted
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def required(found: Distribution) -> list[str]:
    """The names of the distributions that it asks for, those of its extras too."""
    heads = (re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line) for line in found.requires or ())
    return sorted({plain(head[1]) for head in heads if head})


def plain(name: str) -> str:
    """The name of a distribution as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()
