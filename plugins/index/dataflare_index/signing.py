"""The TUF metadata of an index: over every file of it, so that a client takes nothing that was not published.

Targets are delegated to hash bins (TUF's succinct roles): publishing a plugin signs one bin, the snapshot and the
timestamp, however many plugins there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import Key
from tuf.api._payload import (
    Delegations,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import JSONSerializer

from dataflare_author import whole
from dataflare_index.keys import ONLINE, ROOTS, THRESHOLD, read_key

BITS = 6
"""Of hash bins: 64."""
DAYS = {"root": 365, "targets": 365, "bins": 90, "snapshot": 30, "timestamp": 7}
METADATA = "metadata"
SIGNED = "x-dataflare-signed"
_READABLE = JSONSerializer(compact=False)


def begin(index: Path, signers: dict[str, CryptoSigner]) -> None:
    """Write the first metadata of an index: nothing is published yet."""
    root = Metadata(Root(expires=expires("root"), consistent_snapshot=True))
    for name in ROOTS:
        root.signed.add_key(signers[name].public_key, "root")
    root.signed.roles["root"].threshold = THRESHOLD
    for name in ("targets", "snapshot", "timestamp"):
        root.signed.add_key(signers[name].public_key, name)
    _write_root(index, root, [signers[name] for name in ROOTS])
    bins = SuccinctRoles([signers["bins"].public_key.keyid], 1, BITS, "bin")
    targets = Metadata(Targets(expires=expires("targets")))
    keys: dict[str, Key] = {signers["bins"].public_key.keyid: signers["bins"].public_key}
    targets.signed.delegations = Delegations(keys, succinct_roles=bins)
    _write(index, "targets", targets, signers["targets"])
    for name in bins.get_roles():
        _write(index, name, Metadata(Targets(expires=expires("bins"))), signers["bins"])
    roles = ["targets", *bins.get_roles()]
    snapshot = Metadata(Snapshot(expires=expires("snapshot")))
    snapshot.signed.meta = {f"{role}.json": MetaFile(1) for role in roles}
    _write(index, "snapshot", snapshot, signers["snapshot"])
    timestamp = Metadata(Timestamp(expires=expires("timestamp")))
    _write_timestamp(index, timestamp, signers["timestamp"])


def publish(index: Path, changed: Iterable[str]) -> int:
    """Sign what changed (paths below the index); the number of the new snapshot. Raises ConfigError ``index.key``."""
    signers = {name: read_key(index, name) for name in ONLINE if name != "targets"}
    snapshot = newest(index, "snapshot")
    targets = newest(index, "targets")
    roles = targets.signed.delegations.succinct_roles
    touched: dict[str, Metadata[Targets]] = {}
    for path in changed:
        role = roles.get_role_for_target(path)
        held = touched.get(role) or newest(index, role)
        touched[role] = held
        held.signed.targets[path] = TargetFile.from_file(path, str(index / path), ["sha256"])
    for role, held in touched.items():
        _bump(held, "bins")
        _write(index, role, held, signers["bins"])
        snapshot.signed.meta[f"{role}.json"] = MetaFile(held.signed.version)
    return _seal(index, snapshot, signers)


def refresh(index: Path) -> int:
    """Sign everything that is signed online anew; the number of the new snapshot."""
    return resign(index, {name: read_key(index, name) for name in ONLINE})


def resign(
    index: Path,
    signers: dict[str, CryptoSigner],
    root: Metadata[Root] | None = None,
    files: Mapping[str, TargetFile] | None = None,
) -> int:
    """Sign everything anew with these online keys; the number of the new snapshot.

    ``root``: the signed one that names them. ``files``: all that is to be signed, if not what is now.
    """
    snapshot, targets = newest(index, "snapshot"), newest(index, "targets")
    _bump(targets, "targets")
    roles, key = targets.signed.delegations.succinct_roles, signers["bins"].public_key
    roles.keyids = [key.keyid]
    targets.signed.delegations = Delegations({key.keyid: key}, succinct_roles=roles)
    sorted_in: dict[str, dict[str, TargetFile]] = {}
    for path, target in (files or {}).items():
        sorted_in.setdefault(roles.get_role_for_target(path), {})[path] = target
    _write(index, "targets", targets, signers["targets"])
    snapshot.signed.meta["targets.json"] = MetaFile(targets.signed.version)
    for role in roles.get_roles():
        held = newest(index, role)
        _bump(held, "bins")
        if files is not None:
            held.signed.targets = sorted_in.get(role, {})
        _write(index, role, held, signers["bins"])
        snapshot.signed.meta[f"{role}.json"] = MetaFile(held.signed.version)
    return _seal(index, snapshot, signers, root)


def newest(index: Path, role: str) -> Any:
    """The metadata of a role that counts: what a change that was cut off left does not."""
    folder = index / METADATA
    if role == "root":
        version = max(int(file.name.partition(".")[0]) for file in folder.glob("*.root.json"))
        return Metadata.from_file(str(folder / f"{version}.root.json"))
    timestamp: Any = Metadata.from_file(str(folder / "timestamp.json"))
    if role == "timestamp":
        return timestamp
    snapshot: Any = Metadata.from_file(str(folder / f"{timestamp.signed.snapshot_meta.version}.snapshot.json"))
    if role == "snapshot":
        return snapshot
    return Metadata.from_file(str(folder / f"{snapshot.signed.meta[f'{role}.json'].version}.{role}.json"))


def signed(index: Path, path: str) -> str:
    """The digest that a file is signed with; empty where nothing signs it."""
    role = newest(index, "targets").signed.delegations.succinct_roles.get_role_for_target(path)
    target = newest(index, role).signed.targets.get(path)
    return target.hashes["sha256"] if target else ""


def _seal(
    index: Path, snapshot: Metadata[Snapshot], signers: dict[str, CryptoSigner], root: Metadata[Root] | None = None
) -> int:
    _bump(snapshot, "snapshot")
    _write(index, "snapshot", snapshot, signers["snapshot"])
    timestamp = newest(index, "timestamp")
    _bump(timestamp, "timestamp")
    timestamp.signed.snapshot_meta = MetaFile(snapshot.signed.version)
    if root is not None:
        put(index / METADATA / f"{root.signed.version}.root.json", root.to_bytes(_READABLE))
    # The timestamp comes last: until it is there, clients see the index as it was.
    _write_timestamp(index, timestamp, signers["timestamp"])
    return int(snapshot.signed.version)


def _bump(held: Metadata, role: str) -> None:  # type: ignore[type-arg]
    held.signed.version += 1
    held.signed.expires = expires(role)


def expires(role: str) -> datetime:
    """Until when what is signed now holds."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=DAYS[role])


def _write(index: Path, role: str, held: Metadata, signer: CryptoSigner) -> None:  # type: ignore[type-arg]
    held.sign(signer)
    put(index / METADATA / f"{held.signed.version}.{role}.json", held.to_bytes(_READABLE))


def _write_root(index: Path, root: Metadata[Root], signers: list[CryptoSigner]) -> None:
    for signer in signers:
        root.sign(signer, append=True)
    put(index / METADATA / f"{root.signed.version}.root.json", root.to_bytes(_READABLE))


def _write_timestamp(index: Path, timestamp: Metadata[Timestamp], signer: CryptoSigner) -> None:
    # Clients whose clock has stopped know by it how late it is at least.
    timestamp.signed.unrecognized_fields[SIGNED] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    timestamp.sign(signer)
    put(index / METADATA / "timestamp.json", timestamp.to_bytes(_READABLE))


def put(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, and its folder where that is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole.write(file, content)
