"""What an index warns of after it was published: releases that do harm, keys that were lost to somebody else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from dataflare.errors import ConfigError
from dataflare_index import publishing
from dataflare_index.catalogue import Listed
from dataflare_index.signing import newest

Json = Any
Harm = Literal["malware", "vulnerability", "data_loss", "unmaintained"]


def advise(index: Path, name: str, wanted: str, kind: Harm, reason: str, *, withdraw: bool = False) -> dict[str, Json]:
    """Warn of the releases in a range, also of later ones; ``{"plugin", "versions", "advisory", "snapshot"}``.

    ``withdraw``: take back what was said of just this range and kind. Raises ConfigError ``index.unknown``,
    ``index.range``, ``index.advisory``.
    """
    try:
        specifiers = SpecifierSet("" if wanted == "*" else wanted)
    except InvalidSpecifier as error:
        message = f"`{wanted}` is no range of versions"
        raise ConfigError.of("index.range", message, fix="write it as in PEP 440: <1.2.1, or * for all") from error
    if kind not in get_args(Harm) or not (reason.strip() or withdraw):
        message = "an advisory has a kind and a reason"
        raise ConfigError.of("index.advisory", message, fix=f"kinds are {', '.join(get_args(Harm))}")
    told = {"kind": kind, "range": wanted, "reason": reason.strip()}
    told["published"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with publishing.changing(index):
        listed = _known(index, name)
        same = [each for each in listed.advisories if (each["kind"], each["range"]) == (kind, wanted)]
        listed.advisories = [each for each in listed.advisories if each not in same] + ([] if withdraw else [told])
        snapshot = publishing.write_and_sign(index, listed)
    versions = [version for version in listed.versions() if specifiers.contains(version, prereleases=True)]
    return {"plugin": name, "versions": versions, "advisory": None if withdraw else told, "snapshot": snapshot}


def revoke(index: Path, name: str, keyid: str, since: int, reason: str) -> dict[str, Json]:
    """Believe nothing of a publisher's key from a snapshot on; ``{"plugin", "keyid", "releases", "snapshot"}``.

    ``since``: the first such snapshot; 0: the next. Raises ConfigError ``index.unknown``, ``index.publisher_key``.
    """
    with publishing.changing(index):
        listed = _known(index, name)
        found = [each for each in listed.owner.get("keys", {}) if each.startswith(keyid)] if len(keyid) >= 8 else []
        if len(found) != 1:
            have = ", ".join(listed.owner.get("keys", {})) or "none"
            message = f"`{name}` has no key of a publisher `{keyid}`"
            raise ConfigError.of("index.publisher_key", message, fix=f"it has {have}; eight digits of one suffice")
        first = since or newest(index, "snapshot").signed.version + 1
        listed.owner["revoked"] = {
            **listed.owner.get("revoked", {}),
            found[0]: {"from": first, "reason": reason or "revoked"},
        }
        struck = [
            version
            for version, release in listed.releases.items()
            if release.get("publisher", {}).get("keyid") == found[0]
            and any(file["snapshot"] >= first for file in release["files"].values())
        ]
        snapshot = publishing.write_and_sign(index, listed)
    return {"plugin": name, "keyid": found[0], "from": first, "releases": sorted(struck), "snapshot": snapshot}


def _known(index: Path, name: str) -> Listed:
    listed = publishing.signed_listing(index, name)
    if not listed.releases:
        raise ConfigError.of("index.unknown", f"the index has no plugin `{name}`", fix="see `dataflare plugin search`")
    return listed
