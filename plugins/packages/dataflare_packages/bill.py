"""What is locked as a bill of materials in CycloneDX 1.6, the same bytes for the same lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from dataflare_packages.lockfile import Lock, LockedFile

if TYPE_CHECKING:
    from dataflare_worker.pylock import Wheel

Json = Any
_HASH = "SHA-256"


def bill_of(lock: Lock, name: str, others: Mapping[str, list[Wheel]]) -> dict[str, Json]:
    """The bill of a project's lock. ``others``: plugin → what its pylock names; ``""``: what inline plugins need."""
    files: dict[str, dict[str, Wheel]] = {}
    for wheel in (each for wheels in others.values() for each in wheels):
        files.setdefault(_purl_of(wheel), {})[wheel.name] = wheel
    parts = [
        *(_plugin(each, lock) for each in sorted(lock.plugins)),
        *(_host(each, lock) for each in sorted(lock.host)),
        *(_other(purl, [files[purl][each] for each in sorted(files[purl])]) for purl in sorted(files)),
    ]
    known = {*lock.plugins, *lock.host}
    purls = {plugin: {_purl_of(each) for each in wheels} for plugin, wheels in others.items()}
    wanted = {_ref(each, lock) for each in lock.wanted if each in known}
    whole = name or "project"
    needs = [{"ref": whole, "dependsOn": sorted(wanted | purls.get("", set()))}]
    for each, locked in sorted(lock.plugins.items()):
        found = {_ref(needed, lock) for needed in locked.requires if needed in known}
        needs.append({"ref": _ref(each, lock), "dependsOn": sorted(found | purls.get(each, set()))})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": whole, "name": whole}},
        "components": parts,
        "dependencies": needs,
    }


def _plugin(name: str, lock: Lock) -> dict[str, Json]:
    locked = lock.plugins[name]
    facts = {"index": locked.index, "runtime": locked.runtime, "publisher": locked.publisher.get("identity", "")}
    told: dict[str, Json] = {
        **_component(name, locked.version),
        "properties": [{"name": f"dataflare:{key}", "value": value} for key, value in facts.items() if value],
    }
    return {**told, **_hashes(locked.files)}


def _other(purl: str, wheels: list[Wheel]) -> dict[str, Json]:
    facts = {"name": wheels[0].distribution, "version": wheels[0].version}
    return {"type": "library", "bom-ref": purl, **facts, "purl": purl, **_hashes(wheels)}


def _hashes(files: Sequence[LockedFile | Wheel]) -> dict[str, Json]:
    """The digest of the only file, or each file with its own."""
    if len(files) == 1:
        return {"hashes": [{"alg": _HASH, "content": files[0].sha256}]}
    parts = [{"type": "file", "name": file.name, "hashes": [{"alg": _HASH, "content": file.sha256}]} for file in files]
    return {"components": parts} if parts else {}


def _host(name: str, lock: Lock) -> dict[str, Json]:
    told = _component(name, lock.host[name])
    try:
        licence = metadata.metadata(f"dataflare-{name}")["License-Expression"]
    except metadata.PackageNotFoundError:
        return told
    return {**told, "licenses": [{"expression": licence}]} if licence else told


def _component(name: str, version: str) -> dict[str, Json]:
    ref = _purl(name, version)
    return {"type": "library", "bom-ref": ref, "name": f"dataflare-{name}", "version": version, "purl": ref}


def _purl_of(wheel: Wheel) -> str:
    return f"pkg:pypi/{wheel.distribution}@{wheel.version}"


def _ref(name: str, lock: Lock) -> str:
    return _purl(name, lock.plugins[name].version if name in lock.plugins else lock.host[name])


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/dataflare-{name}@{version}"
