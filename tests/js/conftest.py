"""The JavaScript SDK with what it needs from npm, in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import npm
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def sdk_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``sdk-js`` with its packages; ``tests`` and ``docs`` lie beside it as in the tree."""
    folder = tmp_path_factory.mktemp("sdk-js")
    for name in ("tests", "docs"):
        (folder / name).symlink_to(ROOT / name)
    made = folder / "sdk-js"
    shutil.copytree(ROOT / "sdk-js", made, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (made / "node_modules").symlink_to(npm.node_modules(ROOT / "sdk-js" / "package.json", tools=True))
    return made
