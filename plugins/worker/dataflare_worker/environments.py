"""Environments for plugins: made once for the same requirements, kept in a folder of the host, shared by all flows."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
import sysconfig
import time
import venv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflare_worker.installing import install
from dataflare_worker.lent import OURS, Lent, are_there, link_all, parsed
from dataflare_worker.pylock import install_pinned
from dataflare_worker.recorded import changed_files, unmet

_log = logging.getLogger("dataflare.worker")
_MADE = "environment.json"
_VERSION = 2
_LOAN = "dataflare-lent.pth"
_in_use: dict[Path, int] = {}
"""Environments that this process uses → what it holds open, so that nobody deletes them meanwhile."""


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of. ``plugin``: whose it is; ``""``: the host's own process.

    ``pylock``: which files of what is required, and of all that this needs; ``lent``: what the host adds.
    """

    plugin: str
    lent: Lent
    requirements: tuple[str, ...] = ()
    pylock: Path | None = None
    pinned: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, plugin: str, requirements: Iterable[str], pylock: Path | None = None) -> Recipe:
        """That of a plugin in a worker: with a pylock the host lends its own distributions only."""
        needed = tuple(sorted(set(requirements)))
        if pylock is None:
            return cls(plugin, Lent.of(needed), needed)
        pylock = pylock.absolute()
        own = [str(each) for each in parsed(needed) if OURS.match(each.name)]
        return cls(plugin, Lent.of(own), needed, pylock, pylock.read_bytes())

    @classmethod
    def inline(cls, pylock: Path) -> Recipe:
        """That of the host's own process: the host with all its plugins, and what a pylock says."""
        return cls("", Lent.of_host(), (), pylock.absolute(), pylock.read_bytes())

    def key(self) -> str:
        """The same for the same environment."""
        words = [str(_VERSION), sys.version, sys.base_prefix, *self.lent.names()]
        if self.pinned is None:
            words += self.missing()
        else:
            words.append(f"pylock {hashlib.sha256(self.pinned).hexdigest()}")
        return _digest(words)

    def missing(self) -> list[str]:
        """What of the requirements is not lent."""
        return [each for each in self.requirements if not self.lent.satisfy(each)]


class Environments:
    """The environments below a folder. Thread-safe, and many processes may share the folder."""

    def __init__(self, folder: Path | None = None, installer: str | None = None) -> None:
        self.folder = folder or usual_folder()
        self._installer = installer

    def python(self, requirements: Sequence[str], plugin: str, pylock: Path | None = None) -> Path:
        """The interpreter of an environment with these distributions and this host's SDK; it is made at need.

        Raises ConfigError (``worker.environment``) where they cannot be installed.
        """
        return self.ready(Recipe.of(plugin, requirements, pylock))[0]

    def ready(self, recipe: Recipe, *, check: bool = False) -> tuple[Path, bool]:
        """The interpreter of an environment, and whether it had to be made.

        ``check``: is every file as its distribution's RECORD says, and what was lent still there? If not, it is made
        anew. Raises ConfigError ``worker.environment``.
        """
        made = self.folder / recipe.key()
        use(made)
        fresh = False
        if not is_whole(made) or (check and _damaged(made)):
            with _locked(self.folder / f"{made.name}.lock"):
                damaged = is_whole(made) and _damaged(made)
                fresh = damaged or not is_whole(made)
                if fresh:
                    self._make(made, recipe, trusting=not damaged)
        os.utime(made / _MADE)
        return made / "bin" / "python", fresh

    def linked(self, places: Sequence[Path]) -> Path:
        """A folder that has these files and folders, and nothing else."""
        folder = self.folder / "linked" / _digest(map(str, places))
        link_all(places, folder)
        return folder

    def prune(self, unused: float) -> list[str]:
        """Delete the environments that nobody uses now, nor has used for so many seconds; their names."""
        gone = []
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            age = time.time() - max(each.stat().st_mtime for each in (folder, folder / _MADE) if each.exists())
            if folder.suffix or not folder.is_dir() or folder.name in ("linked", "files") or age < unused:
                continue
            with _alone(folder) as alone:
                if alone:
                    (folder / _MADE).unlink(missing_ok=True)
                    shutil.rmtree(folder, ignore_errors=True)
                    gone.append(folder.name)
        for file in (self.folder / "files").glob("*"):
            if file.stat().st_nlink == 1:  # no environment has it any more
                file.unlink(missing_ok=True)
        return gone

    def _make(self, folder: Path, recipe: Recipe, trusting: bool) -> None:
        """Make an environment in its place, since its scripts name it; ``_MADE``, written last, says that it is one.

        ``trusting``: may an installer's cache be used?
        """
        shutil.rmtree(folder, ignore_errors=True)
        lent, missing = recipe.lent, recipe.missing()
        told: dict[str, Any] = {"requirements": list(recipe.requirements), "installer": None}
        _log.info("making the environment of `%s`%s", recipe.plugin, f": {', '.join(missing)}" if missing else "")
        try:
            venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
            if recipe.pylock is not None and recipe.pinned is not None:
                places = (recipe.pylock.parents[1] / ".dataflare" / "wheels", usual_folder().parent / "wheels")
                install_pinned(folder, recipe.pinned, missing, recipe.plugin, recipe.pylock.parent, places, trusting)
                told["installer"] = "uv"
                unmet(_packages(folder), lent, recipe.plugin)
            elif missing:
                files = self.folder / "files"
                lent, told["installer"] = install(
                    folder, recipe.requirements, lent, recipe.plugin, files, self._installer
                )
            loan = self.folder / "linked" / _digest(lent.names())
            link_all(lent.places(), loan)
            (_packages(folder) / _LOAN).write_text(f"{loan}\n", "utf-8")
            told["lent"] = lent.pins()
            aside = folder / f".{_MADE}"
            aside.write_text(json.dumps(told, indent=1), "utf-8")
            os.replace(aside, folder / _MADE)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def usual_folder() -> Path:
    """Below ``$DATAFLARE_CACHE`` or the user's cache folder."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dataflare")
    return Path(os.environ.get("DATAFLARE_CACHE") or usual).absolute() / "envs"


def is_whole(folder: Path) -> bool:
    """Was an environment made here to its end?"""
    return (folder / _MADE).is_file()


def is_sound(folder: Path) -> bool:
    """Was it made to its end, and is what it was lent still there?"""
    try:
        loan = Path((_packages(folder) / _LOAN).read_text("utf-8").strip())
        return is_whole(folder) and are_there(loan)
    except OSError:
        return False


def use(folder: Path, *, by_successors: bool = False) -> None:
    """Say that this process uses an environment, until it ends; ``by_successors``: also what it executes."""
    if folder not in _in_use:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(folder.with_name(f"{folder.name}.used"), os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(held, fcntl.LOCK_SH)
        _in_use[folder] = held
    if by_successors:
        os.set_inheritable(_in_use[folder], True)


def _damaged(folder: Path) -> bool:
    return not is_sound(folder) or bool(changed_files(_packages(folder)))


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:24]


def _packages(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock that its owner's death frees too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Does nobody use an environment? Then nobody begins to in here."""
    with open(folder.with_name(f"{folder.name}.used"), "w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
