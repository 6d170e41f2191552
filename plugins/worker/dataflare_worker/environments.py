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
import venv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataflare_worker.installing import install
from dataflare_worker.lent import Lent, link_all
from dataflare_worker.pylock import install_pinned

_log = logging.getLogger("dataflare.worker")
_MADE = "environment.json"
_VERSION = 1


class Environments:
    """The environments below a folder. Thread-safe, and many processes may share the folder."""

    def __init__(self, folder: Path | None = None, installer: str | None = None) -> None:
        self.folder = folder or usual_folder()
        self._installer = installer

    def python(self, requirements: Sequence[str], plugin: str, pylock: Path | None = None) -> Path:
        """The interpreter of an environment with these distributions and this host's SDK; it is made at need.

        A ``pylock`` says which files of them, and all that they need.

        Raises ConfigError (``worker.environment``) where they cannot be installed.
        """
        needed = sorted(set(requirements))
        lent = Lent.of(needed)
        words = [str(_VERSION), sys.version, sys.base_prefix, *lent.names(), *needed]
        pinned = pylock.read_bytes() if pylock else None
        if pinned is not None:
            words.append(f"pylock {hashlib.sha256(pinned).hexdigest()}")
        key = _digest(words)
        made = self.folder / key
        if not (made / _MADE).is_file():
            with _locked(self.folder / f"{key}.lock"):
                if not (made / _MADE).is_file():
                    self._make(made, needed, lent, plugin, pinned)
        return made / "bin" / "python"

    def linked(self, places: Sequence[Path]) -> Path:
        """A folder that has these files and folders, and nothing else."""
        folder = self.folder / "linked" / _digest(map(str, places))
        link_all(places, folder)
        return folder

    def _make(self, folder: Path, requirements: Sequence[str], lent: Lent, plugin: str, pinned: bytes | None) -> None:
        """Make an environment in its place, since its scripts name it; ``_MADE``, written last, says that it is one."""
        shutil.rmtree(folder, ignore_errors=True)
        missing = [each for each in requirements if not lent.satisfy(each)]
        _log.info("making the environment of `%s`%s", plugin, f": {', '.join(missing)}" if missing else "")
        try:
            venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
            told: dict[str, Any] = {"requirements": list(requirements), "installer": None}
            if pinned is not None:
                install_pinned(folder, pinned, missing, plugin)
                told["installer"] = "uv"
            elif missing:
                files = self.folder / "files"
                lent, told["installer"] = install(folder, requirements, lent, plugin, files, self._installer)
            loan = self.folder / "linked" / _digest(lent.names())
            link_all(lent.places(), loan)
            (_packages(folder) / "dataflare-lent.pth").write_text(f"{loan}\n", "utf-8")
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
    return Path(os.environ.get("DATAFLARE_CACHE") or usual).absolute() / "environments"


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
