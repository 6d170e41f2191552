"""A project's pylock says which files a plugin's environment has."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from worker.projects import add_plugin, write_wheel

from dataflare.errors import ConfigError
from dataflare_author.auditing import loader_of
from dataflare_host.app import Host
from dataflare_host.read_manifest import load_manifest
from dataflare_worker.environments import Environments
from dataflare_worker.pylock import pylock_of

NAME = "greeting_for_tests"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    files = {"greeting.py": "import dataflare\n"}
    return {version: write_wheel(tmp_path / "index", NAME, version, files) for version in ("1.0", "2.0")}


def pylock(file: Path, wheel: Path, version: str, digest: str = "") -> Path:
    digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
    entry = f'[{{ url = "{wheel.as_uri()}", hashes = {{ sha256 = "{digest}" }} }}]'
    package = f'[[packages]]\nname = "{NAME.replace("_", "-")}"\nversion = "{version}"\nwheels = {entry}\n'
    file.write_text(f'lock-version = "1.0"\ncreated-by = "test"\n\n{package}', "utf-8")
    return file


def seen(python: Path) -> str:
    code = f"import greeting, importlib.metadata as m; print(m.version({NAME!r}))"
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_has_what_the_pylock_says_and_the_sdk(tmp_path: Path, wheels: dict[str, Path]) -> None:
    made = Environments(tmp_path / "made")
    pythons = {}
    for version, wheel in wheels.items():
        pythons[version] = made.python([NAME], "p", pylock(tmp_path / "pylock.p.toml", wheel, version))
    assert {version: seen(python) for version, python in pythons.items()} == {"1.0": "1.0", "2.0": "2.0"}


@pytest.mark.parametrize(
    ("requirement", "digest", "cause"),
    [(NAME, "0" * 64, "ash mismatch"), (f"{NAME}>=2", "", "has 1.0"), ("another-for-tests", "", "has none")],
)
def test_what_differs_is_refused_and_leaves_nothing(
    tmp_path: Path, wheels: dict[str, Path], requirement: str, digest: str, cause: str
) -> None:
    file = pylock(tmp_path / "pylock.p.toml", wheels["1.0"], "1.0", digest)
    with pytest.raises(ConfigError) as caught:
        Environments(tmp_path / "made").python([requirement], "p", file)
    assert [problem.code for problem in caught.value.problems] == ["worker.environment"]
    assert cause in str(caught.value.problems[0].cause)
    assert not list((tmp_path / "made").glob("*/environment.json"))


def test_the_pylock_is_the_projects(tmp_path: Path) -> None:
    package = tmp_path / ".dataflare" / "plugins" / "hello" / "0a" / "dataflare_hello"
    file = tmp_path / "locks" / "pylock.hello.toml"
    assert pylock_of(package) is None
    file.parent.mkdir()
    file.write_text("", "utf-8")
    assert pylock_of(package) == file
    assert pylock_of(Path("/elsewhere/dataflare_hello")) is None


def test_the_worker_prepares_a_plugin_of_the_set_by_it(
    tmp_path: Path, wheels: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    package = add_plugin(tmp_path, "hello", "", requires=[NAME])
    (tmp_path / "locks").mkdir()
    pylock(tmp_path / "locks" / "pylock.hello.toml", wheels["1.0"], "1.0")
    with Host.start() as host:
        loader = loader_of("worker", host)
        assert loader is not None
        loader.prepare(load_manifest(package / "dataflare.toml", package.name), host)
    (made,) = (tmp_path / "cache" / "envs").glob("*/environment.json")
    assert seen(made.parent / "bin" / "python") == "1.0"
