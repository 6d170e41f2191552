"""Installed plugins that nobody vouches for in a project with a set: anyone may register a name on a public index.

Vouched for is what the set or its lock names with what that needs, what the distribution ``dataflare`` requires, and
what was installed from a folder or file of this machine (PEP 610). The rest works in workers, without any rights.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from dataflare.errors import Problem
from dataflare_host.manifest import Manifest

ROOT = "dataflare"


def unverified(plugins: Mapping[str, Manifest], named: Collection[str]) -> list[Manifest]:
    """What nobody vouches for, in the form in which it may be used: no hooks, kinds, defaults, no rights."""
    vouched = _with_needs({*named}, plugins)
    left = {id for id in plugins if id not in vouched and not _local(id)}
    if left:
        own = _required(ROOT)
        left -= _with_needs({id for id in plugins if f"dataflare-{id}" in own}, plugins)
    return [_bounded(plugins[id]) for id in sorted(left)]


def problem_of(manifest: Manifest) -> Problem:
    """Why a plugin is bounded."""
    message = f"`{manifest.id}` is installed, but neither the set nor the lock names it: it works without rights"
    fix = f"name it by `dataflare plugin add {manifest.id}`, or uninstall it"
    return Problem("plugin.unverified", message, file=manifest.file, fix=fix)


def _bounded(manifest: Manifest) -> Manifest:
    isolation = "worker" if manifest.runtime == "python" or manifest.isolation else ""
    return replace(
        manifest, isolation=isolation, hooks=(), hooks_module="", kinds={}, defaults={}, permissions={}, unverified=True
    )


def _with_needs(names: set[str], plugins: Mapping[str, Manifest]) -> set[str]:
    found, pending = set(names), [name for name in names if name in plugins]
    while pending:
        more = {*plugins[pending.pop()].dependencies} & {*plugins} - found
        found |= more
        pending += more
    return found


def _local(id: str) -> bool:
    """Was it installed from a folder or file that somebody named?"""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        told = json.loads(distribution(f"dataflare-{id}").read_text("direct_url.json") or "{}")
        return isinstance(told, dict) and str(told.get("url", "")).startswith("file:")
    except (PackageNotFoundError, ValueError, OSError):
        return False


def _required(name: str) -> set[str]:
    """All that a distribution requires, directly or not, without its extras."""
    found, pending = {name}, [name]
    while pending:
        more = {*_requirements(pending.pop())} - found
        found |= more
        pending += more
    return found


def _requirements(name: str) -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        lines = requires(name) or ()
    except PackageNotFoundError:
        return
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield canonicalize_name(wanted.name)
