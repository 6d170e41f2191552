"""New keys for an index, by those who hold its root: what clients trust passes on from root to root.

New keys lie in a folder of their own until the root that names them is there: whoever loses power in between has the
old keys and the old root, or the new keys and the new root.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import Key
from tuf.api._payload import Root, TargetFile
from tuf.api.metadata import Metadata

from dataflare.errors import ConfigError
from dataflare_index import publishing, signing
from dataflare_index.catalogue import Listed
from dataflare_index.keys import NEXT, ONLINE, ROOTS, folder_of, write_key
from dataflare_index.others import Other
from dataflare_index.seen import REVOKED
from dataflare_index.signing import METADATA, put

Json = Any


def rotate(
    index: Path, *, roots: bool = False, holders: Path | None = None, distrust: int = 0, reason: str = ""
) -> dict[str, Json]:
    """Give an index new online keys, and its root new ones too where ``roots``; ``{"root", "snapshot", "distrusted"}``.

    ``holders``: the folder of the root's keys, if not beside the index. ``distrust``: the first snapshot that is not to
    be believed any more: the index is what it was before it, and clients are told.

    Raises ConfigError ``index.threshold``, ``index.snapshot``.
    """
    folder = holders or folder_of(index)
    with publishing.changing(index):
        current = signing.newest(index, "root")
        signers = _holders(current, folder)
        number = signing.newest(index, "snapshot").signed.version
        targets = _taken_back(index, distrust, number, reason or "keys were stolen") if distrust else None
        made = {name: write_key(_made(folder_of(index)), name) for name in ONLINE}
        new_roots = [write_key(_made(folder), name) for name in ROOTS] if roots else []
        root = _next_root(current, made, new_roots)
        for signer in [*signers, *new_roots]:
            root.sign(signer, append=True)
        snapshot = signing.resign(index, made, root, targets)
        settle(index, folder)
    return {"root": root.signed.version, "snapshot": snapshot, "distrusted": [distrust, number] if distrust else None}


def finish(index: Path) -> None:
    """Finish or undo a rotation that was cut off."""
    if settle(index, folder_of(index)):
        signing.refresh(index)


def settle(index: Path, holders: Path) -> bool:
    """Put new keys in place that a root names, and forget those that none does; whether it named them."""
    root = signing.newest(index, "root").signed
    online = folder_of(index) / NEXT
    named = (online / "timestamp.pem").exists() and _id(online / "timestamp.pem") in root.roles["timestamp"].keyids
    for folder in dict.fromkeys((holders, folder_of(index))):
        for file in sorted((folder / NEXT).glob("*.pem"), key=lambda file: file.stem == "timestamp") if named else ():
            place = folder / file.name
            if place.exists():
                place.replace(folder / f"{file.stem}.old.pem")
            file.replace(place)
        shutil.rmtree(folder / NEXT, ignore_errors=True)
    return named


def _made(folder: Path) -> Path:
    fresh = folder / NEXT
    fresh.mkdir(mode=0o700, exist_ok=True)
    return fresh


def _id(file: Path) -> str:
    return str(_key(file).public_key.keyid)


def _key(file: Path) -> CryptoSigner:
    return CryptoSigner(load_pem_private_key(file.read_bytes(), None))  # type: ignore[arg-type]


def _holders(root: Metadata[Root], folder: Path) -> list[CryptoSigner]:
    """The root's keys that are at hand. Raises ConfigError ``index.threshold``."""
    role = root.signed.roles["root"]
    found = {}
    for file in sorted(folder.glob("root-*.pem")):
        signer = _key(file)
        if signer.public_key.keyid in role.keyids:
            found[signer.public_key.keyid] = signer
    if len(found) < role.threshold:
        message = f"{role.threshold} of the root's keys have to sign, and {len(found)} are in {folder}"
        fix = "bring its holders' keys together, and name their folder with --holders"
        raise ConfigError.of("index.threshold", message, fix=fix)
    return list(found.values())


def _next_root(
    current: Metadata[Root], online: Mapping[str, CryptoSigner], roots: list[CryptoSigner]
) -> Metadata[Root]:
    old = current.signed
    signed = Root(version=old.version + 1, expires=signing.expires("root"), consistent_snapshot=True)
    keys: list[Key] = [signer.public_key for signer in roots] or [old.keys[keyid] for keyid in old.roles["root"].keyids]
    for key in keys:
        signed.add_key(key, "root")
    signed.roles["root"].threshold = old.roles["root"].threshold
    for name in ("targets", "snapshot", "timestamp"):
        signed.add_key(online[name].public_key, name)
    return Metadata(signed)


def _taken_back(index: Path, distrust: int, newest: int, reason: str) -> dict[str, TargetFile]:
    """Make the index what it was before a snapshot; what was signed then, and the list of what is revoked."""
    wanted = _signed_in(index, distrust - 1)
    aside = index.with_name(f"{index.name}.revoked")
    for folder in ("files", Listed.folder, Other.folder):
        for file in sorted((index / folder).rglob("*")):
            path = file.relative_to(index).as_posix()
            copy = file.parent == index / folder and "." in file.stem
            if file.is_file() and path not in wanted and not copy:
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                file.replace(aside / path)
    listed = []
    for path, target in wanted.items():
        folder, _, name = path.removesuffix(".json").partition("/")
        if folder in (Listed.folder, Other.folder) and "/" not in name:
            kind = Other if folder == Other.folder else Listed
            content = (index / folder / f"{target.hashes['sha256']}.{name}.json").read_bytes()
            put(index / path, content)
            listed.append(kind.told(name, json.loads(content)))
    revoked = [*_revoked(index), {"from": distrust, "to": newest, "reason": reason}]
    raw = (json.dumps({"snapshots": revoked}, indent=1) + "\n").encode()
    put(index / REVOKED, raw)
    changed = [*publishing.write_pages(index, listed, {}), REVOKED]
    return {**wanted, **{path: TargetFile.from_file(path, str(index / path), ["sha256"]) for path in changed}}


def _signed_in(index: Path, number: int) -> dict[str, TargetFile]:
    """All that a snapshot signed. Raises ConfigError ``index.snapshot``."""
    folder = index / METADATA
    found: dict[str, TargetFile] = {}
    try:
        snapshot: Any = Metadata.from_file(str(folder / f"{number}.snapshot.json"))
        for name, meta in snapshot.signed.meta.items():
            held: Any = Metadata.from_file(str(folder / f"{meta.version}.{name}"))
            found |= held.signed.targets
    except Exception as error:  # python-tuf raises many kinds
        message = f"snapshot {number} is not whole in {folder}"
        fix = "take the folder of a mirror from before it, and rotate the keys there"
        raise ConfigError.of("index.snapshot", message, cause=str(error), fix=fix) from error
    return {path: target for path, target in found.items() if path != REVOKED}


def _revoked(index: Path) -> list[Json]:
    try:
        return list(json.loads((index / REVOKED).read_bytes())["snapshots"])
    except FileNotFoundError:
        return []
