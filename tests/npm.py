"""Packages from npm for tests: installed once for what a package.json asks for, into a cache outside the tree."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def node_modules(package: Path, *, tools: bool = False) -> Path:
    """The folder ``node_modules`` with the dependencies of a ``package.json``; link to it where it is needed.

    ``tools``: what its ``devTools`` name too. (``devDependencies`` of a package in a folder npm would install into
    every plugin that uses it.)
    """
    told = json.loads(package.read_text("utf-8"))
    wanted = {**told.get("dependencies", {}), **(told.get("devTools", {}) if tools else {})}
    text = json.dumps({"dependencies": wanted}, sort_keys=True)
    made = _cache() / hashlib.sha256(text.encode()).hexdigest()[:16]
    if not made.exists():
        _install(text, made)
    return made / "node_modules"


def _install(package: str, made: Path) -> None:
    """Install aside and rename, so that of several processes one wins and none sees half of it."""
    made.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".npm-", dir=made.parent))
    (aside / "package.json").write_text(package, "utf-8")
    words = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(words, cwd=aside, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        aside.rename(made)
    except OSError:
        shutil.rmtree(aside)
        assert made.exists()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dataflare-tests" / "npm"
