"""Installed plugins that nobody vouches for: anyone may register a name on a public index.

Vouched for is what DataFlare's own distributions require, and what was installed from this machine. What a plugin set
names, with what that needs, has its rights, in a process of its own unless the set says ``isolation = "inline"``. The
rest works in such processes without any rights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from dataflare.errors import Problem
from dataflare_host.manifest import Manifest

if TYPE_CHECKING:
    from dataflare.component import Component

GUESTS = ("source", "processor", "sink", "tool")
"""The kinds that work outside the host's process."""
T = TypeVar("T")


def outside(manifest: Manifest) -> Manifest:
    """A plugin in the form in which nothing of it has a place in this process."""
    return replace(
        manifest,
        components=None if manifest.components is None else _of_guests(manifest.components),
        summaries=_of_guests(manifest.summaries),
        isolation="worker" if manifest.runtime == "python" else "",
        hooks=(),
        hooks_module="",
        kinds={},
        defaults={},
    )


def bounded(manifest: Manifest) -> Manifest:
    """A plugin in the form in which it may be used where nobody vouches for it: outside, and without a right."""
    return replace(outside(manifest), permissions={}, unverified=True)


def named_with_needs(names: Collection[str], plugins: Mapping[str, Manifest]) -> set[str]:
    """These plugins, and those that they need."""
    found, pending = {*names}, [name for name in names if name in plugins]
    while pending:
        more = {*plugins[pending.pop()].dependencies} & {*plugins} - found
        found |= more
        pending += more
    return found


def guests_of(manifest: Manifest, classes: Iterable[type[Component]]) -> list[type[Component]]:
    """The components of a plugin that may be used."""
    return [made for made in classes if not manifest.unverified or made.kind in GUESTS]


def problem_of(manifest: Manifest) -> Problem:
    """Why a plugin is bounded."""
    message = f"`{manifest.id}` is installed, but neither a set nor a lock names it: it works without rights"
    fix = f"name it by `dataflare plugin add {manifest.id}`, or uninstall it"
    return Problem("plugin.unverified", message, file=manifest.file, fix=fix)


def _of_guests(told: Mapping[str, T]) -> dict[str, T]:
    return {kind: named for kind, named in told.items() if kind in GUESTS}
