"""Lint, format and types of the whole tree."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TYPED = [
    "sdk/dataflare",
    "host/dataflare_host",
    *(f"plugins/{name}/dataflare_{name}" for name in ("commands", "default", "pipeline", "standalone", "state", "std")),
    "docs",
]


@pytest.mark.parametrize(
    "words",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy", *TYPED)],
    ids=["lint", "format", "types"],
)
def test_the_tree_is_clean(words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
