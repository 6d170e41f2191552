"""Bundles that carry a project to where there is no network: its flows, set, lock and all wheels, in one zip file.

A deployer's key may sign a bundle (a DSSE envelope over a digest of every file), with a serial number that only grows:
whoever has pinned that key takes nothing else, and nothing that is older than what it took last.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_author import whole
from dataflare_author.archive import Archive, Hostile
from dataflare_author.project_set import FILE as SET
from dataflare_author.refusals import NotTrusted
from dataflare_packages.changing import lock_that_agrees
from dataflare_packages.installing import Synced, install
from dataflare_packages.lockfile import FILE as LOCK
from dataflare_packages.lockfile import Lock, digest_of, lock_of, read_lock
from dataflare_packages.others import fetched, others_of
from dataflare_packages.pylocks import file_of, written
from dataflare_packages.wheels import Wheels
from dataflare_packages.withdrawn import refuse

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

Json = Any
CONTENT, SEAL = "bundle.json", "bundle.dsse.json"
KIND = "application/vnd.dataflare.bundle+json"
TAKEN = Path(".dataflare", "deployed.json")
LARGEST, MOST = 1 << 32, 10_000
"""Bytes and files of a bundle."""


def export(
    project: Path, to: Path, *, key: Path | None = None, serial: int = 0, everywhere: bool = False
) -> dict[str, Json]:
    """Write a bundle with the plugins' wheels of all platforms, and what they need of others for this one.

    ``everywhere``: for all platforms and Pythons. Raises ConfigError ``lock.…``, ``bundle.key``.
    """
    lock, find = lock_that_agrees(project), Wheels(project)
    refuse(lock, project)
    files = {path.name: path.read_bytes() for path in sorted(project.glob("*.y*ml"))}
    files |= {name: (project / name).read_bytes() for name in (SET, LOCK)}
    files |= {file_of(plugin): (project / file_of(plugin)).read_bytes() for plugin in lock.pylocks()}
    files |= {f"trust/{path.name}": path.read_bytes() for path in sorted((project / "trust").glob("*.root.json"))}
    for name, locked in sorted(lock.plugins.items()):
        if not locked.index:
            message = f"`{name}` was added from a file: no index has its wheel"
            raise ConfigError.of("bundle.from_file", message, fix="publish it in an index, and add it by its name")
        files |= {f"wheels/{each.name}": find(name, locked, each).read_bytes() for each in locked.files}
    for wheel in others_of(lock, project, everywhere=everywhere):
        files[f"wheels/{wheel.name}"] = fetched(wheel, project).read_bytes()
    digests = {name: digest_of(content) for name, content in sorted(files.items())}
    content = json.dumps({"serial": serial, "files": digests}, indent=1, sort_keys=True).encode()
    files[CONTENT] = content
    if key is not None:
        files[SEAL] = _sealed(content, key)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name), files[name])  # always of one date: the same bytes each time
    whole.write(to, packed.getvalue())
    told = digest_of(packed.getvalue())
    return {"bundle": str(to), "digest": told, "files": sorted(files), "serial": serial, "signed": key is not None}


def deploy(bundle: Path, project: Path, host: HostApi, deployer: Path | None = None) -> Synced:
    """Install a bundle into a project, without a network, all or nothing.

    ``deployer``: the public key to pin; the one that is pinned already, if not given. Raises NotTrusted
    ``bundle.not_trusted``, ConfigError ``bundle.…``.
    """
    files = _read(bundle)
    taken = _taken(project)
    given = deployer.read_text("utf-8") if deployer else None
    pinned = taken.get("key")
    if given and pinned and given != pinned:
        raise _refused("another deployer's key is pinned here", "wrong_key")
    key = given or pinned
    content = files.pop(CONTENT, b"")
    if key:
        _check_seal(content, files.pop(SEAL, b""), key)
    files.pop(SEAL, None)
    told = _content(content, bundle)
    if {name: digest_of(each) for name, each in files.items()} != told["files"]:
        raise _refused("its files are not those that it names", "arbitrary_content")
    serial, last = told["serial"], taken.get("serial")
    if key and last is not None and (serial < last or (serial == last and digest_of(content) != taken.get("digest"))):
        raise _refused(f"its serial is {serial}, and {last} was taken already", "replay")
    lock = lock_of(files[LOCK].decode())
    pylocks = {plugin: files.get(file_of(plugin), b"") for plugin in lock.pylocks()}
    if {plugin: digest_of(each) for plugin, each in pylocks.items()} != lock.pylocks():
        raise ConfigError.of("bundle.syntax", f"{bundle} is no bundle", cause="its pylocks are not those of its lock")
    project.mkdir(parents=True, exist_ok=True)
    wheels = project / ".dataflare" / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for name in [name for name in files if name.startswith("wheels/")]:
        whole.write(wheels / PurePosixPath(name).name, files.pop(name))
    with written(pylocks, read_lock(project) or Lock(), project):
        find = Wheels(project, offline=True, folders=[wheels])
        done = install(lock, project, host, find, keep=True)
        for name, each in files.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            whole.write(project / name, each)
        gone = install(lock, project, host, find).removed
    record = {"serial": serial, "digest": digest_of(content), "key": key}
    whole.write(project / TAKEN, (json.dumps(record, indent=1) + "\n").encode())
    return replace(done, removed=gone)


def _read(bundle: Path) -> dict[str, bytes]:
    try:
        with bundle.open("rb") as content:
            archive = Archive(content, most=MOST, largest=LARGEST)
            found = {name: archive.read(name) for name in archive.names()}
    except Hostile as error:
        raise _refused(str(error), error.attack) from error
    except (OSError, ValueError) as error:
        raise ConfigError.of("bundle.syntax", f"{bundle} is no bundle", cause=str(error)) from error
    if not all(_plain(name) for name in found) or not {SET, LOCK, CONTENT} <= {*found}:
        raise ConfigError.of("bundle.syntax", f"{bundle} is no bundle", cause="its files are not those of a bundle")
    return found


def _plain(name: str) -> bool:
    """May a bundle have a file of this name? None below another folder than its own, none that is hidden."""
    folder, _, file = name.rpartition("/")
    return folder in ("", "trust", "wheels", "locks") and file[:1] not in ("", ".")


def _content(content: bytes, bundle: Path) -> Mapping[str, Json]:
    try:
        told = json.loads(content)
        if isinstance(told["serial"], int) and isinstance(told["files"], dict):
            return dict(told)
        cause = "it has other values than a bundle's"
    except (ValueError, KeyError, TypeError) as error:
        cause = repr(error)
    raise ConfigError.of("bundle.syntax", f"{bundle} is no bundle", cause=f"{CONTENT}: {cause}")


def _taken(project: Path) -> dict[str, Json]:
    try:
        return dict(json.loads((project / TAKEN).read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        message = f"{project / TAKEN} cannot be read: it says which deployer is pinned"
        raise ConfigError.of("bundle.syntax", message, cause=str(error), fix="bring it back from a backup") from error


def _sealed(content: bytes, key: Path) -> bytes:
    from dataflare_index.dsse import read_private, sign

    try:
        return sign(content, KIND, read_private(key))
    except (OSError, ValueError) as error:
        message = f"{key} holds no private key"
        raise ConfigError.of("bundle.key", message, cause=str(error), fix="name an Ed25519 key in PEM") from error


def _check_seal(content: bytes, seal: bytes, key: str) -> None:
    from dataflare_index.dsse import NotSigned, opened, public_of_pem

    try:
        public = public_of_pem(key)
    except ValueError as error:
        message = "the deployer's key is no public key"
        raise ConfigError.of("bundle.key", message, cause=str(error), fix="name an Ed25519 key in PEM") from error
    try:
        if opened(seal, KIND, [public]) != content:
            raise NotSigned("something else was signed", "arbitrary_content")
    except NotSigned as error:
        raise _refused(str(error), error.attack) from error


def _refused(cause: str, attack: str) -> NotTrusted:
    message, fix = "the bundle is not to be trusted", "what is installed stays; ask who deploys here"
    return NotTrusted.of("bundle.not_trusted", message, cause=cause, fix=fix, details={"attack": attack})
