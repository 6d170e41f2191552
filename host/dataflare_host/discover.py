"""The plugins that are installed here, found and read without importing any of their code.

A distribution claims a plugin id by an entry point of the group ``dataflare.plugins``: name = id, value = a top-level
package, which is located, never imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataflare.declare import did_you_mean
from dataflare.errors import ConfigError, Problem
from dataflare_host.installed import Claim, Installed
from dataflare_host.manifest import FILE, Manifest


@dataclass(frozen=True)
class Faulty:
    """A plugin that is installed but cannot be used, and why."""

    id: str
    distribution: str
    version: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Catalogue:
    """What is installed: plugins by id, and those that cannot be used.

    ``strangers``: plugins that came from an index, and that neither DataFlare itself nor ``plugins`` asks for.
    """

    plugins: dict[str, Manifest] = field(default_factory=dict)
    faulty: tuple[Faulty, ...] = ()
    strangers: frozenset[str] = frozenset()


def discover(plugins: Iterable[str] | None = None) -> Catalogue:
    """The plugins of this interpreter; with ``plugins``, only these ids (the rest is faulty: ``plugin.not_in_set``)."""
    installed = Installed.remembered()
    claims = _claims(installed, sys.path)
    found: dict[str, Manifest] = {}
    faulty: list[Faulty] = []
    wanted = None if plugins is None else set(plugins)
    for claim, problem in _one_claimant(claims):
        if wanted is not None and claim.id not in wanted:
            message = f"`{claim.id}` is installed, but the plugin set does not name it"
            problem = Problem("plugin.not_in_set", message, fix=f"add `{claim.id}` to the set")
        try:
            if problem is not None:
                raise ConfigError(problem)
            found[claim.id] = _manifest(installed, claim)
        except ConfigError as error:
            faulty.append(Faulty(claim.id, claim.distribution, claim.version, error.problems))
    for id, problems in _unmet(installed, found).items():
        faulty.append(Faulty(id, "", found.pop(id).version, problems))
    strangers = frozenset() if wanted is not None else _strangers(installed, claims) & {*found}
    installed.save()
    return Catalogue(dict(sorted(found.items())), tuple(sorted(faulty, key=lambda each: each.id)), strangers)


def unmet(plugins: Mapping[str, Manifest]) -> dict[str, tuple[Problem, ...]]:
    """Plugins whose dependencies are absent or of another version, and what they lack."""
    return _unmet(Installed.remembered(), dict(plugins))


def _claims(installed: Installed, path: Sequence[str]) -> list[Claim]:
    """All claims on the path; of two distributions of one name the first on the path counts, as for imports."""
    claims: list[Claim] = []
    seen: dict[str, str] = {}
    for folder in dict.fromkeys(os.path.abspath(entry) for entry in path):
        for claim in installed.claims(folder):
            if seen.setdefault(claim.distribution, folder) == folder:
                claims.append(claim)
    return claims


def _strangers(installed: Installed, claims: Iterable[Claim]) -> frozenset[str]:
    known = {claim.distribution: claim for claim in claims}
    asked = installed.required(os.path.abspath(entry) for entry in sys.path) & {*known}
    pending = [*asked]
    while pending:
        more = {*known[pending.pop()].requires} & {*known} - asked
        asked |= more
        pending += more
    return frozenset(claim.id for name, claim in known.items() if not claim.local and name not in asked)


def _one_claimant(claims: Iterable[Claim]) -> list[tuple[Claim, Problem | None]]:
    """Each claim, and what is wrong with it: ID is claimed once, by the distribution ``dataflare-ID``, or by nobody."""
    by_id: dict[str, list[Claim]] = {}
    for claim in claims:
        by_id.setdefault(claim.id, []).append(claim)
    judged: list[tuple[Claim, Problem | None]] = []
    for id, rivals in by_id.items():
        owners = [claim for claim in rivals if claim.distribution == f"dataflare-{id}"]
        message = f"the id `{id}` is claimed by {' and '.join(sorted(f'`{claim.distribution}`' for claim in rivals))}"
        fix = f"uninstall all but `dataflare-{id}`, which alone may claim it"
        conflict = Problem("plugin.id_conflict", message, fix=fix)
        judged += [(claim, None if owners == [claim] else conflict) for claim in rivals]
    return judged


def _manifest(installed: Installed, claim: Claim) -> Manifest:
    if "." in claim.package or ":" in claim.package:
        message = f"the entry point `{claim.id}` names `{claim.package}`; finding it would run its parent's code"
        raise ConfigError.of("plugin.package_dotted", message, fix="name a top-level package in the entry point")
    try:
        spec = importlib.util.find_spec(claim.package)
    except (ImportError, ValueError) as error:
        raise ConfigError.of("plugin.package_missing", f"`{claim.package}` cannot be located: {error}") from error
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        message = f"`{claim.distribution}` is installed, but its package `{claim.package}` is not there"
        fix = f"install `{claim.distribution}` again, or uninstall it"
        raise ConfigError.of("plugin.package_missing", message, fix=fix)
    manifest = installed.manifest(Path(folders[0]) / FILE, claim.package)
    if manifest.id != claim.id:
        message = f"the entry point says `{claim.id}`, the manifest `{manifest.id}`"
        place = {"file": manifest.file, "pointer": "/plugin/id"}
        raise ConfigError.of("plugin.id_mismatch", message, fix="give both the same name", **place)
    return manifest


def _unmet(installed: Installed, found: dict[str, Manifest]) -> dict[str, tuple[Problem, ...]]:
    """Plugins whose dependencies are absent or of another version; what depends on those falls with them."""
    versions = {id: manifest.version for id, manifest in found.items()}
    needing = {id: manifest for id, manifest in found.items() if manifest.dependencies}
    unmet: dict[str, tuple[Problem, ...]] = {}
    while True:
        more = {
            id: problems
            for id, manifest in needing.items()
            if id not in unmet and (problems := _lacks(installed, manifest, versions))
        }
        if not more:
            return unmet
        unmet |= more
        versions = {id: version for id, version in versions.items() if id not in more}


def _lacks(installed: Installed, manifest: Manifest, versions: dict[str, str]) -> tuple[Problem, ...]:
    problems = []
    for name, wanted in manifest.dependencies.items():
        have = versions.get(name)
        if have is not None and installed.admits(wanted, have):
            continue
        message = f"it needs the plugin `{name}` {wanted}, " + (f"got {have}" if have else "which is not usable here")
        install = f"install `dataflare-{name}` {wanted}"
        fix = install if have else did_you_mean(name, versions, install)
        pointer = f"/dependencies/{name}"
        problems.append(Problem("plugin.dependency", message, file=manifest.file, pointer=pointer, fix=fix))
    return tuple(problems)
