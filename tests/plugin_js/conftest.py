"""Engines for scripts: built once, into the cache where a host looks for them."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from js.conftest import sdk_js  # noqa: F401
from plugin_js.scripts import ENGINES, Guest

from dataflare.hosting import Limits
from dataflare_js.build import build, cache_folder


@pytest.fixture(scope="session", autouse=True)
def engines() -> None:
    """All engines are there; of several processes one builds, the others wait for it."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ENGINES:
            build(name)


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest.fixture
def start(engine_name: str) -> Iterator[Callable[..., Guest]]:
    """Starts scripts in the engine, which end with the test."""
    started: list[Guest] = []

    def make(
        script: str, *, limits: Limits = Limits(), source_map: bytes | None = None, plugin: str = "odd-plugin"
    ) -> Guest:
        started.append(Guest(engine_name, script, limits, source_map, plugin))
        return started[-1]

    yield make
    for guest in started:
        guest.transport.close()


@pytest.fixture(scope="session")
def bundled(sdk_js: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:  # noqa: F811
    """Bundles a TypeScript module (its text) with the SDK, as an author does; gives ``plugin.js``, beside its map."""

    def make(module: str | Path) -> Path:
        folder = tmp_path_factory.mktemp("bundle")
        entry = folder / "src" / "plugin.ts"
        if isinstance(module, Path):
            entry = sdk_js / module
        else:
            entry.parent.mkdir()
            entry.write_text(module, "utf-8")
        words = ["node", "bundle.mjs", str(entry), str(folder / "plugin.js")]
        done = subprocess.run(words, cwd=sdk_js, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return folder / "plugin.js"

    return make
