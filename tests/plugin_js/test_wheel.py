"""The engines travel inside the wheel of the bundle, where they could be built."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from plugin_js.scripts import ENGINES

from dataflare_js.build import BuildFailed, build, cached

BUNDLE = Path(__file__).resolve().parents[2] / "plugins" / "js"


def wheel(folder: Path, **variables: str) -> list[str]:
    """The files of a wheel of the bundle."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    environment = {**os.environ, **variables}
    done = subprocess.run(words, cwd=BUNDLE, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    assert made.name == "dataflare_js-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(made) as archive:
        return archive.namelist()


def test_a_wheel_carries_the_engines(tmp_path: Path) -> None:
    files = wheel(tmp_path)
    assert {f"dataflare_js/engines/{name}.wasm" for name in ENGINES} <= set(files)
    assert "dataflare_js/engine/prelude.js" in files


@pytest.mark.parametrize("variables", [{"DATAFLARE_JS_ENGINES": "none"}, {"PATH": "/nowhere"}])
def test_a_wheel_is_made_without_them_too(tmp_path: Path, variables: dict[str, str]) -> None:
    files = wheel(tmp_path / "wheel", DATAFLARE_CACHE=str(tmp_path / "cache"), **variables)
    assert "dataflare_js/build.py" in files
    assert [file for file in files if file.endswith(".wasm")] == []


def test_an_engine_that_cannot_be_built_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BuildFailed, match="there is no `npm` on this machine"):
        build("starling")
    assert not cached("starling").exists()
