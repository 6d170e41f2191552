"""The SDK for Go: its own tests, its form, and that its plugins become WASM modules."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "sdk-go"


def go(*words: str, folder: Path = SDK, **environment: str) -> str:
    given = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", "GOPROXY": "off", **environment}
    done = subprocess.run(["go", *words], cwd=folder, env=given, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_code_is_in_gos_form() -> None:
    found = subprocess.run(["gofmt", "-l", "."], cwd=SDK, capture_output=True, text=True, timeout=60)
    assert (found.stdout, found.stderr) == ("", "")


def test_the_code_is_sound_natively_and_as_wasm() -> None:
    go("vet", "./...")
    go("vet", "./...", GOOS="wasip1", GOARCH="wasm")


def test_its_own_tests_hold() -> None:
    go("test", "-count=1", "./...")  # vectors lie outside the module: Go does not see them change


def test_it_needs_the_standard_library_only() -> None:
    assert go("list", "-m", "all").split() == ["dataflare.dev/sdk-go"]


def test_a_plugin_becomes_a_module(tmp_path: Path) -> None:
    path = tmp_path / "plugin.wasm"
    words = ("build", "-buildmode=c-shared", "-trimpath", "-o", str(path), "./internal/vectors/plugin")
    go(*words, GOOS="wasip1", GOARCH="wasm")
    module = path.read_bytes()
    for name in (b"dataflare_abi", b"dataflare_reserve", b"dataflare_call", b"host_call", b"host_read"):
        assert name in module
