"""The tutorial, replayed: what its page says is what happens, in each language, with a kind for each."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("language", "kind"), [("python", "sink"), ("go", "source"), ("ts", "processor"), ("js", "tool")]
)
def test_the_tutorial_leads_to_a_plugin_that_a_flow_uses(language: str, kind: str) -> None:
    command = [sys.executable, "bench/first_plugin.py", "--lang", language, "--kind", kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split()[:2] == [language, kind]
