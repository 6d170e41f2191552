"""What is locked as a bill of materials in CycloneDX 1.6, the same bytes for the same lock."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from dataflare_packages.lockfile import Lock

Json = Any
_HASH = "SHA-256"


def bill_of(lock: Lock, name: str) -> dict[str, Json]:
    """The bill of a project's lock."""
    parts = [
        *(_plugin(each, lock) for each in sorted(lock.plugins)),
        *(_host(each, lock) for each in sorted(lock.host)),
    ]
    known = {*lock.plugins, *lock.host}
    needs = [{"ref": name, "dependsOn": sorted(_ref(each, lock) for each in lock.wanted if each in known)}]
    for each, locked in sorted(lock.plugins.items()):
        found = sorted(_ref(needed, lock) for needed in locked.requires if needed in known)
        needs.append({"ref": _ref(each, lock), "dependsOn": found})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": name, "name": name}},
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
    if len(locked.files) == 1:
        told["hashes"] = [{"alg": _HASH, "content": locked.files[0].sha256}]
    elif locked.files:
        told["components"] = [
            {"type": "file", "name": file.name, "hashes": [{"alg": _HASH, "content": file.sha256}]}
            for file in locked.files
        ]
    return told


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


def _ref(name: str, lock: Lock) -> str:
    return _purl(name, lock.plugins[name].version if name in lock.plugins else lock.host[name])


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/dataflare-{name}@{version}"
