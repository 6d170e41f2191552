"""Gives a project another version of one plugin, for a flow that is to go on with it; and takes it back.

It is looked for in the lock, in what is unpacked, and in the indexes that the project trusts. The set's wishes stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.errors import ConfigError
from dataflare_author import whole
from dataflare_author.project_set import FILE as SET
from dataflare_author.refusals import NotAccepted
from dataflare_packages.accepting import Consent, Wait
from dataflare_packages.changing import agrees
from dataflare_packages.installing import INSTALLED, damaged, install
from dataflare_packages.lockfile import FILE as LOCK
from dataflare_packages.lockfile import Lock, read_lock
from dataflare_packages.pylocks import FOLDER as PYLOCKS
from dataflare_packages.wheels import Wheels
from dataflare_packages.wishes import Wish, wishes_of

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

Contents = Mapping[Path, bytes | None]


@dataclass(frozen=True)
class Taken:
    """What a project's files said before another version was taken, and what they say since."""

    before: Contents
    after: Contents

    def undo(self) -> None:
        """The version before comes back, unless somebody has changed the project meanwhile."""
        if any(_content(file) != content for file, content in self.after.items()):
            return
        for file, content in self.before.items():  # what is in use comes last
            if content is None:
                file.unlink(missing_ok=True)
            elif content != self.after[file]:
                whole.write(file, content)


def take(name: str, version: str, project: Path, host: HostApi, *, grant: bool = False) -> Taken:
    """Let a project use this version of a plugin that it has.

    Raises ConfigError ``reload.version`` where it has no such plugin, or the version is not to be had; NoSolution,
    NotTrusted, NotAccepted where the version asks for more. Then nothing has changed.
    """
    wishes, lock = wishes_of(project), read_lock(project) or Lock()
    wish = wishes.get(name) or (Wish(name) if name in lock.plugins else None)
    if wish is None:
        message = f"the set has no `{name}` that could be of version {version}"
        fix = f"add it first: `dataflare plugin add '{name}=={version}'`"
        raise ConfigError.of("reload.version", message, file=str(project / SET), fix=fix)
    before = _contents(project)
    try:
        if wish.folder:
            _take_unpacked(wish, version, project, host, grant)
        else:
            _take_release(wish, version, wishes, lock, project, host, grant)
    except BaseException:
        _taken(before, project).undo()
        raise
    return _taken(before, project)


def _take_unpacked(wish: Wish, version: str, project: Path, host: HostApi, grant: bool) -> None:
    """A version of a plugin that was added from a file, as long as it is unpacked."""
    from dataflare_author.adding import add_again
    from dataflare_host.sets import unpacked
    from dataflare_packages.locking import make

    package = unpacked(project / wish.folder, version)
    if package is None or (wish.digest and damaged(package)):
        message = f"`{wish.name}` was added from a file, and its version {version} is not here"
        raise ConfigError.of("reload.version", message, fix="add its wheel first: `dataflare plugin add WHEEL`")
    added = add_again(package, project, grant, host)
    if not added.granted:
        wait = Wait(wish.name, version, "permissions", [dict(rule) for rule in added.asks])
        details = {"waits": [wait.as_json()]}
        fix = "give --grant to accept this"
        raise NotAccepted.of("lock.not_accepted", wait.render(), fix=fix, details=details)
    if read_lock(project) is not None:
        with make(project, host, consent=Consent(grant)).in_place(project) as made:
            made.write(project)


def _take_release(
    wish: Wish, version: str, wishes: Mapping[str, Wish], lock: Lock, project: Path, host: HostApi, grant: bool
) -> None:
    """A release of an index: locked and installed."""
    from dataflare_packages.locking import make

    held = lock.plugins.get(wish.name)
    if held is not None and held.version == version and agrees(lock, wishes):
        install(lock, project, host, Wheels(project))
        return
    exactly = replace(wish, wanted=f"{wish.wanted},=={version}".lstrip(","))
    made = make(project, host, consent=Consent(grant), wishes={**wishes, wish.name: exactly}, upgrade=[wish.name])
    with made.in_place(project) as found:
        found = replace(found, wanted={name: each.wanted for name, each in wishes.items()})
        install(found, project, host, Wheels(project))
        found.write(project)


def _taken(before: Contents, project: Path) -> Taken:
    after = _contents(project)
    files = [*{**after, **before}]
    return Taken({file: before.get(file) for file in files}, {file: after.get(file) for file in files})


def _contents(project: Path) -> Contents:
    files = [project / SET, project / LOCK, *(project / PYLOCKS).glob("*"), project / INSTALLED]
    return {file: _content(file) for file in files}


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
