"""What changed from each version of a plugin to the next, told from the wheels that the index holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflare.errors import DataflareError
from dataflare_index.catalogue import Listed
from dataflare_packages.differing import compare
from dataflare_packages.surface import Surface, surface_of

Json = Any
MOST = 20
"""Versions back from the newest that are compared."""


def history(one: Listed, surfaces: Mapping[str, Surface]) -> list[dict[str, Json]]:
    """The versions, newest first: ``{"version", "release", "date", "changes", "honest", "warned"}``."""
    versions, told = one.versions(), []
    for before, version in zip([None, *versions], versions, strict=False):
        release = one.releases[version]
        files = release["files"].values()
        old, new = surfaces.get(before or ""), surfaces.get(version)
        changes, honest = _changes(old, new)
        told.append(
            {
                "version": version,
                "release": release,
                "date": min((str(file["published"])[:10] for file in files), default=""),
                "changes": changes,
                "honest": honest,
                "warned": one.warned(version),
            }
        )
    return told[::-1]


def surfaces_of(index: Path, one: Listed) -> dict[str, Surface]:
    """Version → what its wheel shows to its users; without those whose wheels cannot be read."""
    found = {}
    for version in one.versions()[-MOST:]:
        for file in sorted(one.releases[version]["files"]):
            try:
                found[version] = surface_of(str(index / "files" / one.name / file), index)
            except (DataflareError, OSError):
                continue
            break
    return found


def _changes(old: Surface | None, new: Surface | None) -> tuple[list[dict[str, Json]], bool]:
    if old is None or new is None:
        return [], True
    try:
        found = compare(old, new)
        honest = found.honest
    except (DataflareError, TypeError, ValueError, AttributeError, LookupError, RecursionError):
        return [], True  # a stranger's nonsense: it may not keep the pages of others from being made
    order = ("major", "minor", "patch")
    changes = sorted((each.as_json() for each in found.differences), key=lambda each: order.index(each["weight"]))
    return changes, honest
