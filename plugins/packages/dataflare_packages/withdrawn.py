"""Releases that nobody should have, also where they are locked: malware, by keys or from snapshots that are revoked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dataflare_author.refusals import NotTrusted

if TYPE_CHECKING:
    from dataflare_index.catalogue import Listed
    from dataflare_packages.lockfile import Lock, Locked


class Harm(NamedTuple):
    """Why nobody should have a release, and what that would be a sign of."""

    attack: str
    why: str


def harm_of(listed: Listed, version: str) -> Harm | None:
    """What an index says against one of its releases."""
    release = listed.releases[version]
    keyid = release.get("publisher", {}).get("keyid", "")
    snapshots = [int(file.get("snapshot", 0)) for file in release["files"].values()]
    return _malware(listed, version) or _revoked(listed, keyid, snapshots)


def refuse(lock: Lock, project: Path) -> None:
    """Refuse a lock with releases that nobody should have, as far as the project has seen that its indexes say so.

    No index is asked. Raises NotTrusted ``lock.withdrawn``.
    """
    if not any(each.index for each in lock.plugins.values()):
        return
    from dataflare_index.seen import Seen

    for index, source in lock.indexes.items():
        if why := Seen.of(project, index).distrusts(source.snapshot):
            message = f"the lock was made from snapshot {source.snapshot} of the index `{index}`, which is revoked"
            fix = f"lock again by `dataflare plugin lock --project {project}`"
            raise NotTrusted.of(
                "lock.withdrawn", message, cause=why, fix=fix, details={"attack": "revoked_snapshot", "index": index}
            )
    for name, locked in lock.plugins.items():
        listed = Seen.of(project, locked.index).plugin(name) if locked.index else None
        if listed is not None and (harm := _known(listed, locked, lock)):
            message = f"nobody should have `{name}` {locked.version}"
            fix = f"`dataflare plugin lock --project {project}` takes another version where there is one"
            details = {"attack": harm.attack, "plugin": name}
            raise NotTrusted.of("lock.withdrawn", message, cause=harm.why, fix=fix, details=details)


def _known(listed: Listed, locked: Locked, lock: Lock) -> Harm | None:
    """What is known against what is locked; the index may have been seen before or after it had that release."""
    if locked.version in listed.releases:
        return harm_of(listed, locked.version)
    snapshots = [lock.indexes[locked.index].snapshot] if locked.index in lock.indexes else [0]
    return _malware(listed, locked.version) or _revoked(listed, locked.publisher.get("keyid", ""), snapshots)


def _malware(listed: Listed, version: str) -> Harm | None:
    from dataflare_index.catalogue import MALWARE

    bad = next((each for each in listed.warned(version) if each["kind"] == MALWARE), None)
    return Harm("malware", f"malware: {bad['reason']}") if bad else None


def _revoked(listed: Listed, keyid: str, snapshots: list[int]) -> Harm | None:
    if not any(listed.revoked(keyid, snapshot) for snapshot in snapshots):
        return None
    return Harm("revoked_key", f"its publisher's key is revoked: {listed.owner['revoked'][keyid]['reason']}")
