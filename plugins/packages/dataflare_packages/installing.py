"""Installs what a lock says into a project: beside what is there, checked file by file, and in use all at once.

``.dataflare/installed.json`` says what is in use. It is replaced last, so whatever happens before leaves the old set.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_author import whole
from dataflare_author.adding import KEPT
from dataflare_author.auditing import audit, loader_of
from dataflare_author.project_set import FOLDER, ProjectSet
from dataflare_author.refusals import NotTrusted
from dataflare_author.wheel_check import read_wheel
from dataflare_packages.inline import KEY as INLINE
from dataflare_packages.inline import prepared
from dataflare_packages.lockfile import Lock, Locked, LockedFile
from dataflare_packages.sources import file_for
from dataflare_packages.withdrawn import refuse

if TYPE_CHECKING:
    from dataflare_author.wheel_check import Wheel
    from dataflare_host.host import HostApi
    from dataflare_host.kinds import Loader

Json = Any
INSTALLED = Path(".dataflare", "installed.json")
Finder = Callable[[str, Locked, LockedFile], Path]
"""(plugin, what is locked of it, the wheel that fits here) → that wheel."""


@dataclass(frozen=True)
class Synced:
    """What a sync did: plugins that were unpacked, and those that were there already."""

    installed: tuple[str, ...]
    kept: tuple[str, ...]
    removed: tuple[str, ...]


def install(lock: Lock, project: Path, host: HostApi, find: Finder, *, keep: bool = False) -> Synced:
    """Bring a project to its lock. Raises ConfigError, NotTrusted; until it is done, the old set is in use.

    ``keep``: plugins that it does not need any more stay in use: the project's set still names them.
    """
    refuse(lock, project)
    known = ProjectSet(project)
    with known.changing():
        before = installed_of(project)
        work = list(_work(lock))
        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(lambda each: _place(each[0], each[1], each[2], project, host, find), work))
        _prepare([(each, *placed) for (_, each, _), placed in zip(work, results, strict=True)], host)
        environments = prepared(lock, project, before.get(INLINE, {}))
        entries = {
            name: {
                "version": locked.version,
                "folder": package.relative_to(project).as_posix(),
                "digest": f"sha256:{file.sha256}",
                "isolation": locked.isolation,
                "grants": dict(locked.grants),
            }
            for (name, locked, file), (package, _) in zip(work, results, strict=True)
        }
        new = [name for (name, _, _), (_, fresh) in zip(work, results, strict=True) if fresh]
        own = dict(lock.host)
        if keep:
            entries = {**before.get("plugins", {}), **entries}
            own = {**before.get("host", {}), **own}
        told = {"lock": lock.digest(), "plugins": entries, "host": own}
        told |= {INLINE: environments} if environments else {}
        content = (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()
        file = project / INSTALLED
        if not file.exists() or file.read_bytes() != content:
            whole.write(file, content)
            _settle(file.parent)
        gone = tuple(sorted({*before.get("plugins", {})} - {*entries}))
        _sweep(project, entries, known.names())
    return Synced(tuple(new), tuple(name for name in entries if name not in new), gone)


def installed_of(project: Path) -> dict[str, Json]:
    """What is in use by a lock: ``{"lock", "plugins", "host"}``; nothing, where nothing was installed by one."""
    try:
        told = json.loads((project / INSTALLED).read_bytes())
        return told if isinstance(told, dict) else {}
    except (OSError, ValueError):
        return {}


def damaged(package: Path) -> list[str]:
    """The files of an unpacked wheel that are not what its RECORD says."""
    folder = package.parent
    records = list(folder.glob("*.dist-info/RECORD"))
    if len(records) != 1:
        return ["RECORD"]
    lines = [line for line in csv.reader(records[0].read_text("utf-8").splitlines()) if len(line) == 3]
    wrong = [name for name, digest, _ in lines if digest and not _is(folder / name, digest)]
    return wrong or ([] if lines else ["RECORD"])


def _is(file: Path, digest: str) -> bool:
    try:
        have = hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return False
    return digest == f"sha256={base64.urlsafe_b64encode(have).rstrip(b'=').decode()}"


def _work(lock: Lock) -> Iterator[tuple[str, Locked, LockedFile]]:
    for name, locked in lock.plugins.items():
        if not locked.index:
            continue  # it was added from a file, and the set says where it is
        files = {each.name: each for each in locked.files}
        fits = file_for(files)
        if fits is None:
            message = f"no wheel of `{name}` {locked.version} fits this machine"
            have = ", ".join(files)
            raise ConfigError.of("lock.no_wheel", message, cause=f"there are {have}", fix="take another version of it")
        yield name, locked, files[fits]


def _place(
    name: str, locked: Locked, file: LockedFile, project: Path, host: HostApi, find: Finder
) -> tuple[Path, bool]:
    """The package's folder of a plugin, and whether it had to be unpacked."""
    home = project / FOLDER / name
    package = home / file.sha256 / f"dataflare_{name.replace('-', '_')}"
    if package.is_dir() and not damaged(package):
        os.utime(package.parent)  # what was in use last is the last that is swept away
        return package, False
    wheel = read_wheel(find(name, locked, file))
    manifest = wheel.files.get(f"{wheel.names.package}/dataflare.toml", b"")
    if wheel.digest != file.sha256 or (locked.manifest and hashlib.sha256(manifest).hexdigest() != locked.manifest):
        raise NotTrusted.of(
            "lock.digest",
            f"`{file.name}` is not the wheel that was locked",
            cause="its digest or that of its manifest differs",
            fix="what is installed stays; ask who keeps the index",
            details={"attack": "arbitrary_content", "plugin": name},
        )
    if (wheel.names.id, wheel.version) != (name, locked.version):
        message = f"the lock says `{name}` {locked.version}, the wheel `{wheel.names.id}` {wheel.version}"
        raise ConfigError.of("plugin.id_conflict", message, file=str(wheel.path), fix="ask who published it")
    _unpack(wheel, home, file.sha256, name, locked, host)
    return package, True


def _unpack(wheel: Wheel, home: Path, digest: str, name: str, locked: Locked, host: HostApi) -> None:
    from dataflare_host.read_manifest import load_manifest

    home.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".adding-", dir=home))
    try:
        package = wheel.unpack(aside)
        manifest = load_manifest(package / "dataflare.toml", package.name)
        if (manifest.id, manifest.version) != (name, locked.version):
            message = f"the wheel says it is `{name}` {locked.version}, its manifest `{manifest.id}` {manifest.version}"
            raise ConfigError.of("plugin.id_conflict", message, file=str(wheel.path), fix="ask who published it")
        runtime = locked.isolation if locked.isolation == "worker" else manifest.runtime
        if runtime not in ("python", "declarative"):
            audit(manifest, host, runtime)
        for written in aside.rglob("*"):
            if written.is_file():
                _settle(written)
        _settle(aside)
        target = home / digest
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
        _settle(home)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _prepare(placed: Iterable[tuple[Locked, Path, bool]], host: HostApi) -> None:
    """Let the loaders do what can be done before the first run; the environments of workers are looked at each time."""
    from dataflare_host.read_manifest import load_manifest

    loaders: dict[str, Loader | None] = {}
    for locked, package, fresh in placed:
        runtime = locked.isolation or locked.runtime
        if runtime in ("inline", "python", "declarative") or not (fresh or runtime == "worker"):
            continue
        if runtime not in loaders:
            loaders[runtime] = loader_of(runtime, host)
        if (loader := loaders[runtime]) is not None:
            loader.prepare(load_manifest(package / "dataflare.toml", package.name), host)


def _settle(place: Path) -> None:
    """See to it that a loss of power leaves what was written."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(project: Path, entries: Mapping[str, Json], named: Iterable[str]) -> None:
    """Delete the plugins that nobody names any more, what others left unfinished, and the oldest versions."""
    root = project / FOLDER
    used = {*entries, *named}
    for home in [each for each in root.iterdir() if each.is_dir()]:
        if home.name not in used:
            shutil.rmtree(home, ignore_errors=True)
        elif home.name in entries:
            current = Path(entries[home.name]["folder"]).parent.name
            others = [each for each in home.iterdir() if each.name != current]
            kept = sorted((each for each in others if each.name[0] != "."), key=lambda each: each.stat().st_mtime)
            for former in {*others} - {*kept[1 - KEPT :]}:
                shutil.rmtree(former, ignore_errors=True)
