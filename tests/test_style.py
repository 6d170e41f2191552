"""Lint, format and types of the whole tree."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TYPED = [
    "sdk/dataflare",
    "host/dataflare_host",
    *(f"plugins/{path.name}/dataflare_{path.name}" for path in sorted((ROOT / "plugins").iterdir()) if path.is_dir()),
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
